"""A day of a site in some minutes; see README.md."""
