"""ML Metadata: one reader and one writer, used by everybody."""
