"""Served requests back to events: the request log, published as impressions."""
