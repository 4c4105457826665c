"""What engines on PyTorch share: where to run, in what precision, how to load, and which way is the fastest here."""
