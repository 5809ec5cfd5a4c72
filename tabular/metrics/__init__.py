"""What a model must show before it is pushed; see README.md."""
