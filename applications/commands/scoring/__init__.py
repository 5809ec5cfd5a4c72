"""Batch scoring with Spark: `python -m applications score`."""
