"""Features of the past, declared once."""
