"""The document says what was measured."""

from __future__ import annotations

import json

import pytest

from benchmarks.measure import machine
from benchmarks.tables import DOCUMENT, RESULTS, written

pytestmark = pytest.mark.unit


def test_the_document_has_the_committed_results() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert written(document, RESULTS) == document
    for path in RESULTS.iterdir():
        assert f"<!-- table {path.stem} -->" in document


def test_results_say_where_and_when() -> None:
    for path in RESULTS.iterdir():
        result = json.loads(path.read_text("utf-8"))
        assert result["name"] == path.stem
        assert result["machine"].keys() == machine().keys()
        assert result["ratios"]
