"""Whisper by faster-whisper: one model shared by all streams."""
