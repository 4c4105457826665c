"""Streaming transducers by sherpa-onnx: words while they are spoken."""
