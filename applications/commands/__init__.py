"""The commands of `python -m applications`: from a table of your own to a served model."""
