"""Models of tabular data, as functions of a FeatureSet."""
