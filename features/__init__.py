"""Features of past events, declared once."""
