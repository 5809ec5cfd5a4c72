"""The pipeline, its configuration and its applications; see README.md."""
