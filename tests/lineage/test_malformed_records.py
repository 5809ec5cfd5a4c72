"""A report is made even if rejected records or summaries are malformed."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.evaluator.evaluation_files import read_verdict
from lineage.report.quarantine import read_rejected_records
from pipeline.run_summary import read_summary

pytestmark = pytest.mark.unit
MANY = 10_000
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=6,
)
texts = (
    values.map(json.dumps)
    | st.text(max_size=40)
    | st.integers(900, 3000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth)
)


def test_ten_thousand_unreadable_rejected_records_leave_a_page(tmp_path: Path) -> None:
    chance, lines = random.Random(3), []
    good = {"source": "clicks", "reason": "no_id", "record": "x"}
    for number in range(MANY):
        text = json.dumps({**good, "reason": f"r{number}"} if number == MANY - 1 else good)
        kind = number % 4
        if number == MANY - 1 or kind == 0:
            lines.append(text)
        elif kind == 1:
            lines.append(text[: chance.randrange(len(text))])
        elif kind == 2:
            lines.append("[" * chance.randrange(1, 3000))
        else:
            lines.append(json.dumps(chance.choice([1, [], {"source": 1}, "x", None])))
    folder = tmp_path / "records"
    folder.mkdir()
    (folder / "part-0.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    damaged = gzip.compress("\n".join(lines).encode())[:-500]
    (folder / "part-1.json.gz").write_bytes(damaged)
    found = read_rejected_records(str(tmp_path))
    assert {one.reason for one in found} == {"no_id", f"r{MANY - 1}"}  # also the last line


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_no_file_ends_a_page(tmp_path: Path, text: str) -> None:
    (tmp_path / "run_summary.json").write_text(text, "utf-8", "backslashreplace")
    assert isinstance(read_summary(tmp_path / "run_summary.json"), dict)
    for name in ("verdict.json", "blessing.json"):
        (tmp_path / name).write_text(text, "utf-8", "backslashreplace")
    read_verdict(str(tmp_path))
