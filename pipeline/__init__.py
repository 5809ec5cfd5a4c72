"""The pipeline, its configuration, and the contract with an application; see README.md."""
