"""Conversations of the plain session API: sound in, transcripts out; text in, sound out; for an hour and more."""
