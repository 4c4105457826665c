"""Small skills for when there is no language model: pure functions from what was heard to what is answered."""
