"""Dialects: sans-I/O protocol machines between bytes and commands or notices."""
