"""A pipeline run for each closed hour; see streaming/README.md."""
