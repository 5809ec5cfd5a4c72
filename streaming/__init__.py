"""From events to hourly spans; see README.md."""
