"""Model files: where they come from, where they lie, and whether they are whole."""
