"""The stream of training examples: every row once a pass, and the same from any position on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tabular.training import examples as module
from tabular.training.distribution import Shard
from tabular.training.examples import Examples, NoExamplesError
from tests.tabular.training.small_training import write_examples

pytestmark = pytest.mark.unit

SPEC = {name: tf.io.FixedLenFeature([], tf.int64) for name in ("row", "clicked")}
ROWS = 999


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_examples(folder, "train", ROWS, files=3)
    return folder


def examples(folder: Path, shard: Shard | None = None) -> Examples:
    return Examples.matching(
        "train", [str(folder / "Split-train" / "*")], SPEC, "clicked", shard or Shard()
    )


def rows_of(batches: tf.data.Dataset) -> np.ndarray:
    return np.concatenate([features["row"].numpy() for features, _ in batches])


def test_every_row_once_a_pass_in_an_order_of_its_own(folder: Path) -> None:
    rows = rows_of(examples(folder).shuffled(100, 300, seed=1).take(20))
    first, second = rows[:ROWS], rows[ROWS : 2 * ROWS]
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert not np.array_equal(first, second)
    assert np.mean(np.diff(first) == 1) < 0.1  # shuffled, that is


@pytest.mark.parametrize("step", [1, 9, 10, 23])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_from_any_step_on_it_is_the_same_stream(
    folder: Path, step: int, cache_bytes: int, monkeypatch
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", cache_bytes)
    whole = rows_of(examples(folder).shuffled(96, 300, seed=1).take(30))
    rest = rows_of(examples(folder).shuffled(96, 300, seed=1, first_step=step).take(30 - step))
    np.testing.assert_array_equal(whole[96 * step :], rest)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_workers_share_the_rows_by_file_or_else_by_record(folder: Path, count: int) -> None:
    shares = [examples(folder, Shard(index, count)) for index in range(count)]
    rows = [rows_of(share.in_order(64)) for share in shares]
    assert sorted(np.concatenate(rows)) == list(range(ROWS))
    assert [len(share) for share in rows] == [share.labels.rows for share in shares]
    if count == 3:  # a file each: the worker opens no other
        assert [len(set(share // 333)) for share in rows] == [1, 1, 1]


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_labels_are_counted(folder: Path, cache_bytes: int, monkeypatch) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", cache_bytes)
    labels = np.concatenate([label.numpy() for _, label in examples(folder).in_order(64)])
    assert labels.shape == (ROWS, 1)
    found = examples(folder).labels
    assert found.rows == ROWS
    assert found.mean == pytest.approx(labels.mean(), rel=1e-6)
    assert found.variance == pytest.approx(labels.astype(float).var(), rel=1e-9)


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoExamplesError, match=r"split train has no examples: no file matches .*tr"):
        examples(tmp_path)
    write_examples(tmp_path, "train", 0, files=1)
    with pytest.raises(NoExamplesError, match="no rows"):
        examples(tmp_path).shuffled(4, 4, 1)
