"""Whether a user likes a film: MovieLens 100k."""
