"""Gradient-boosted trees beside the network, for comparison; see README.md."""
