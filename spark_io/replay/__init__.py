"""Refused rows, repaired, to a new version of their span; the commands are in ../__main__.py."""
