"""Judges of whether a speaker has finished, by the sound of it."""
