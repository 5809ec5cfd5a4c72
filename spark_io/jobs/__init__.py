"""Runs Spark jobs in processes of their own; see README.md."""
