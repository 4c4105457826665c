"""Small language models that run here, on Transformers, in a process of their own."""
