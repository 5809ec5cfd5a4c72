"""The standard Trainer with one more input; see README.md."""
