"""Files of sample data, for all applications that make some."""
