"""Compiles the pipeline to a Kubeflow Pipelines spec and runs it; see README.md."""
