"""Turns repaired rows into a new version of their span; see README.md."""
