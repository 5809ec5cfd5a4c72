"""Writers of sample data, for all applications."""
