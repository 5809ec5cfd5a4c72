"""Gradient-boosted trees on the network's examples, to compare it with; see README.md."""
