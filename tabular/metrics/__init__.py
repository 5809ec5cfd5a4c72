"""Metrics of the Evaluator and of the validation during training; see README.md."""
