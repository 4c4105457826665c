"""Duologue: a self-hosted server for spoken conversation."""

__version__ = "0.1.0"
