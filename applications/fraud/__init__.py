"""Predicts fraud with payment cards; see README.md."""
