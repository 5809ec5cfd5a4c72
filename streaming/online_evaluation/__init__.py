"""Judges the served versions by what became of their events; see README.md."""
