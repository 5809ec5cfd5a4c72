"""Resolvers of the baseline model and of the model for a warm start; see README.md."""
