"""Which model a candidate is compared with; see README.md."""
