"""Makes written files visible, whole or not at all."""
