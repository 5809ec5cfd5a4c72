"""Shared foundations of every layer: files, locks, errors, printing and secrets."""
