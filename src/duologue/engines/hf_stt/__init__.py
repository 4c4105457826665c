"""Recognisers on Transformers: Whisper as it was published, and Mistral's Voxtral."""
