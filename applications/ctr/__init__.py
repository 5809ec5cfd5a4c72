"""Predicts the click-through rate of an e-commerce site."""
