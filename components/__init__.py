"""Custom TFX components, one folder each; see README.md."""
