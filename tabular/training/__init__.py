"""Trains a Keras model on transformed examples."""
