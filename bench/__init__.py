"""Measurements: run on demand, figures kept in RESULTS.md."""
