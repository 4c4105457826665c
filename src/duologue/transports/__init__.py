"""Bytes in, bytes out: sockets between a dialect and a session."""
