"""Applications: what is computed. Each is a package that the config names."""
