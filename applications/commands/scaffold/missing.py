"""Texts that stand for a missing value in tables that people write."""

MISSING = (
    *("", "-", "--", "?", ".", "n/a", "na", "#n/a", "nan", "null", "none", "nil"),
    *("missing", "unknown", "undefined"),
)
