"""Predicts whether a user likes a film, on MovieLens 100k."""
