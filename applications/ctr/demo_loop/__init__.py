"""Simulates a day of a site in a few minutes; see README.md."""
