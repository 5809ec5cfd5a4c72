"""Runs a compiled pipeline on this machine, step by step; see kubeflow/README.md."""
