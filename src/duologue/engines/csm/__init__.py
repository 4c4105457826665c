"""Sesame's CSM-1B on Transformers: a voice that hears what it has said before."""
