"""Simulates card payments and their chargebacks; see README.md."""
