"""Reads the result of TreeBaseline without TensorFlow."""

from __future__ import annotations

from metadata.artifact_files import local_path
from tabular.baseline.result import Comparison

COMPARISON = "comparison.json"


def read_comparison(uri: str) -> Comparison | None:
    """Reads a TreeComparison artifact; None if it is unreadable or not on this machine."""
    folder = local_path(uri)
    try:
        text = (folder / COMPARISON).read_text("utf-8") if folder else ""
    except (OSError, ValueError):
        return None
    return Comparison.from_json(text)
