"""Runs real services on loopback for development and tests; see README.md."""
