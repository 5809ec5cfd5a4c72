"""What every component that runs Spark shares; see README.md."""
