"""Files, locks, errors, printing, secrets: what every layer uses. It imports no layer."""
