"""Writes a small application from a table: `python -m applications new`."""
