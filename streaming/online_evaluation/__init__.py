"""Measures the served versions by what users did, and promotes or rolls back; see README.md."""
