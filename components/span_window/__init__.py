"""The examples of the last spans; see README.md."""
