"""Pocket TTS: a small streaming voice by Kyutai, on torch."""
