"""Kokoro: a small neural voice, by ONNX Runtime."""
