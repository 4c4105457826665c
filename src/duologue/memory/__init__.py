"""Models and memory: what fits, what is there, what is used."""
