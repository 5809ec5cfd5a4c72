"""Copies the served model into an artifact; see README.md."""
