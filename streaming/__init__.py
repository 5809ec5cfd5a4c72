"""Turns a stream of events into hourly spans; see README.md."""
