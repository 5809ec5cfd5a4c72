"""Runs a pipeline once on this machine; see README.md."""
