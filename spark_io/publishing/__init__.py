"""Publishes written files."""
