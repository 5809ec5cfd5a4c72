"""Contents of lines and files, and the speed needed for 100 million rows."""

from __future__ import annotations

import gzip
import json
import time

import numpy as np
import pyarrow as pa
import pytest

from applications.ctr.sample_data.best_reachable import BestReachable
from applications.sample_files.log_writer import json_lines, labels, prefixed, write_lines

pytestmark = pytest.mark.unit


def test_lines_are_json_with_nulls(tmp_path):
    table = pa.table({"id": pa.array(["a", None]), "n": pa.array([1, None], pa.int64())})
    write_lines(tmp_path, 0, json_lines(table))
    lines = gzip.decompress((tmp_path / "part-00000.json.gz").read_bytes()).splitlines()
    assert [json.loads(line) for line in lines] == [{"id": "a", "n": 1}, {"id": None, "n": None}]


@pytest.mark.parametrize("chunks", [[], [["a"], ["b", "c"]]])
def test_chunked_and_empty_columns(chunks):
    table = pa.table({"id": pa.chunked_array(chunks, pa.string())})
    assert len(json_lines(table)) == sum(map(len, chunks))


def test_a_slice_of_lines_writes_just_the_slice(tmp_path):
    lines = json_lines(pa.table({"n": pa.array([1, 2, 3, 4])}))
    write_lines(tmp_path, 7, lines.slice(1, 2))
    assert gzip.decompress((tmp_path / "part-00007.json.gz").read_bytes()) == b'{"n":2}\n{"n":3}\n'


def test_a_hundred_thousand_rows_take_less_than_a_second(tmp_path):
    rows = np.arange(100_000)
    start = time.process_time()
    table = pa.table(
        {
            **{name: prefixed(name, rows * 17 % 99_991) for name in ("impression", "user", "item")},
            "device": labels(("mobile", "desktop"), rows % 2),
            "timestamp_ms": pa.array(1_709_251_200_000 + rows),
        }
    )
    write_lines(tmp_path, 0, json_lines(table))
    assert time.process_time() - start < 1.0


def test_best_reachable_without_clicks_has_no_auc():
    best = BestReachable()
    best.add(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]))
    assert best.figures()["auc"] is None


def test_best_reachable_of_a_perfect_order_is_one():
    best = BestReachable()
    best.add(np.array([False, True]), np.array([0.1, 0.9]))
    assert best.figures() == pytest.approx(
        {"auc": 1.0, "log_loss": -np.log(0.9), "ctr": 0.5, "mean_probability": 0.5}
    )
