"""Features that alone tell the label, in whatever form they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from components.evaluator import telling_features as module
from components.evaluator.telling_features import REPORTED, telling_features

pytestmark = pytest.mark.unit

Columns = dict[str, list[list[Any]]]


def write(folder: Path, columns: Columns, files: int = 2) -> schema_pb2.Schema:
    """Examples whose features have lists of values; in the order of the rows, file after file."""
    kinds = {int: schema_pb2.INT, float: schema_pb2.FLOAT, bytes: schema_pb2.BYTES}
    schema = schema_pb2.Schema()
    for name, rows in columns.items():
        (kind,) = {type(value) for row in rows for value in row}
        schema.feature.add(name=name, type=kinds[kind])
    schema.feature.add(name="nested", type=schema_pb2.STRUCT)
    count = len(next(iter(columns.values())))
    for number, part in enumerate(np.array_split(np.arange(count), files)):
        with tf.io.TFRecordWriter(str(folder / f"{number:03}.gz"), "GZIP") as writer:
            for row in part:
                features = {name: _feature(rows[row]) for name, rows in columns.items()}
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return schema


def _feature(values: list[Any]) -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def reported(folder: Path, schema: schema_pb2.Schema, label: str = "y") -> set[str]:
    found = telling_features([str(folder)], schema, label)
    return {one.feature for one in found if one.skill >= REPORTED}


def test_every_form_of_the_label_is_found_and_nothing_else(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    label = chance.random(4_000) < 0.2
    code = chance.integers(0, 50, 4_000) * 2 + label  # 100 codes, which do not rise with the label
    schema = write(
        tmp_path,
        {
            "y": [[int(y)] for y in label],
            "copy": [[float(y)] for y in label],
            "not_monotone": [[7] if y else [int(chance.choice([3, 9]))] for y in label],
            "text": [[b"paid"] if y else [b"\xff open"] for y in label],
            "missing": [[] if y else [1] for y in label],
            "nan": [[float("nan")] if y else [1.0] for y in label],
            "milliseconds": [[1_700_000_000_000 + 60_000 * int(y)] for y in label],
            "code": [[int(c) * 37 % 101] for c in code],
            "length": [[b"a", b"b"] if y else [b"a"] for y in label],
            "noise": [[float(x)] for x in chance.normal(size=4_000)],
            "name": [[f"n{number}".encode()] for number in range(4_000)],
            "helpful": [
                [float(x + 2 * y)] for x, y in zip(chance.normal(size=4_000), label, strict=True)
            ],
            "empty": [[] if number else [1] for number in range(4_000)],
        },
    )
    found = reported(tmp_path, schema)
    assert found >= {"copy", "not_monotone", "text", "missing", "nan", "milliseconds", "length"}
    assert found <= {
        "copy",
        "not_monotone",
        "text",
        "missing",
        "nan",
        "milliseconds",
        "length",
        "code",
    }


def test_rows_of_all_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of time, with the events in the last of more files than could be read whole."""
    monkeypatch.setattr(module, "_LOOKED_AT", 1_200)
    label = np.arange(6_000) >= 5_000
    label &= np.arange(6_000) % 2 == 0
    columns = {"y": [[int(y)] for y in label], "copy": [[int(y)] for y in label]}
    schema = write(tmp_path, columns, files=12)
    assert reported(tmp_path, schema) == {"copy"}


def test_a_quantity_is_told_by_a_copy_of_it(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    label = np.exp(2 * chance.normal(size=3_000))
    schema = write(
        tmp_path,
        {
            "y": [[float(y)] for y in label],
            "copy": [[float(3 * y)] for y in label],
            "noise": [[float(x)] for x in chance.normal(size=3_000)],
        },
    )
    assert reported(tmp_path, schema) == {"copy"}


@pytest.mark.parametrize("positives", [0, 19])
def test_too_few_examples_tell_nothing(tmp_path: Path, positives: int) -> None:
    columns = {name: [[int(row < positives)] for row in range(500)] for name in ("y", "copy")}
    schema = write(tmp_path, columns)
    assert telling_features([str(tmp_path)], schema, "y") == []
    assert telling_features([str(tmp_path / "nothing")], schema, "y") == []


def test_a_feature_that_tells_one_class_of_several_is_found(tmp_path: Path) -> None:
    """By a model of quantities it would tell nothing: class 1 lies between the others."""
    chance = np.random.default_rng(1)
    label = chance.choice(4, 4_000, p=[0.5, 0.05, 0.449, 0.001])
    schema = write(
        tmp_path,
        {
            "y": [[int(y)] for y in label],
            "tells_news": [[int(y == 1)] for y in label],
            "noise": [[float(x)] for x in chance.normal(size=4_000)],
        },
    )
    names = ("arts", "news", "sport", "too rare")
    found = telling_features([str(tmp_path)], schema, "y", classes=names)
    assert [one.feature for one in found if one.skill >= REPORTED] == ["tells_news"]
    assert found[0].text == "feature 'tells_news' alone almost tells the label (AUC of news 1.0000)"
