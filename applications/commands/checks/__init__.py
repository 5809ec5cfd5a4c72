"""The checks of `python -m applications check`."""
