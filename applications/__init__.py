"""Applications. Each is a package that a config names."""
