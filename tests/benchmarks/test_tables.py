"""The documents say what was measured."""

from __future__ import annotations

import json

import pytest

from benchmarks.measure import machine
from benchmarks.tables import DOCUMENTS, RESULTS, written

pytestmark = pytest.mark.unit


def test_the_documents_have_the_committed_results() -> None:
    documents = [path.read_text("utf-8") for path in DOCUMENTS]
    for document in documents:
        assert written(document, RESULTS) == document
    for path in RESULTS.iterdir():
        assert sum(f"<!-- table {path.stem} -->" in document for document in documents) == 1


def test_results_say_where_and_when() -> None:
    for path in RESULTS.iterdir():
        result = json.loads(path.read_text("utf-8"))
        assert result["name"] == path.stem
        assert result["machine"].keys() == machine().keys()
        assert result["ratios"]
