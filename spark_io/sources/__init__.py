"""Sources, spans and the inputs of a run."""
