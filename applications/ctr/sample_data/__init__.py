"""Simulates a click log whose true click probabilities are known; see README.md."""
