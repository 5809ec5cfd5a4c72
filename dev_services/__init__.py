"""Real services on loopback for development and tests; see README.md."""
