"""The model that is served now, as an artifact; see README.md."""
