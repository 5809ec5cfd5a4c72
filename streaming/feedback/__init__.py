"""Publishes the server's request log as impressions; see README.md."""
