"""Printing, logging, JSON of others, secrets: what every layer uses. It imports no layer."""
