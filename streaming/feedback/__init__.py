"""Publishes what the server's request log tells as events; see README.md."""
