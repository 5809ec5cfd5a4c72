"""Stops the run when ExampleValidator found anomalies; see README.md."""
