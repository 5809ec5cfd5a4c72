"""What is read: sources, spans and the inputs of a run."""
