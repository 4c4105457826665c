"""Piper: neural voices of forty languages, by ONNX Runtime."""
