"""Runs the pipeline on each closed hour; see README.md."""
