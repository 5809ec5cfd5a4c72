"""The pipeline as a Kubeflow Pipelines spec; see README.md."""
