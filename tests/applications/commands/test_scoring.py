"""Scoring rejects what the model cannot take, row by row, and counts every row once."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import tensorflow as tf

from applications.commands.scoring.worker import (
    REJECTED,
    SCORES,
    Scoring,
    check_model,
    score_writer,
)
from base.errors import ComponentError
from spark_io.examples.shards import REPORT_SCHEMA
from spark_io.publishing.publish import TaskReport

pytestmark = pytest.mark.component

COLUMNS = ("row", "speed", "line", "_outcome", "_reason", "_source", "_record")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SavedModel that doubles the speed."""
    folder = str(tmp_path_factory.mktemp("model"))
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(examples):
        spec = {
            "speed": tf.io.FixedLenFeature([1], tf.float32),
            "line": tf.io.FixedLenFeature([1], tf.string),
        }
        return {"prediction": 2 * tf.io.parse_example(examples, spec)["speed"]}

    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    return folder


def scored(spark, model, tmp_path: Path, rows, **changed):
    for folder in (SCORES, REJECTED):
        (tmp_path / folder).mkdir()
    facts = {
        "staging": str(tmp_path),
        "model": model,
        "columns": COLUMNS,
        "inputs": ("speed", "line"),
        "lists": (),
        "carried": ("row",),
        "prediction": "prediction",
        "classes": (),
        "primary": "trains",
        "format": "parquet",
    }
    schema = "c0 long, c1 float, c2 string, c3 string, c4 string, c5 string, c6 string"
    frame = spark.createDataFrame(rows, schema).repartition(3)
    written = frame.mapInArrow(score_writer(Scoring(**{**facts, **changed})), REPORT_SCHEMA)
    return TaskReport.from_rows(written.collect(), [SCORES])


def good(number, speed=1.0):
    return (number, float(number) if speed else speed, "U1", None, None, None, None)


def test_every_row_is_scored_or_counted_with_its_reason(spark, model, tmp_path):
    rows = [good(number) for number in range(5_000)]
    rows += [
        (-1, None, "U1", None, None, None, None),
        (-2, float("nan"), "U1", None, None, None, None),
        (-3, float("inf"), "U1", None, None, None, None),
        (-4, 1.0, None, None, None, None, None),
        (None, None, None, "quarantined", "no_line", None, "as it was"),
        (None, None, None, "quarantined", "unparseable", "stations", "{"),
        (None, None, None, "dropped", "duplicate", None, None),
    ]
    report = scored(spark, model, tmp_path, rows)
    assert report.split_rows() == {SCORES: 5_000}
    assert report.quarantined == {
        "stations": {"unparseable": 1},
        "trains": {
            "no_line": 1,
            "no_value_of_line": 1,
            "no_value_of_speed": 1,
            "not_finite_speed": 2,
        },
    }
    assert report.dropped == {"duplicate": 1}
    table = ds.dataset(str(tmp_path / SCORES)).to_table().to_pydict()
    assert sorted(table["row"]) == list(range(5_000))
    assert all(
        score == 2 * row for row, score in zip(table["row"], table["prediction"], strict=True)
    )
    lines = [
        json.loads(line)
        for file in (tmp_path / REJECTED).iterdir()
        for line in gzip.decompress(file.read_bytes()).splitlines()
    ]
    assert Counter(line["reason"] for line in lines)["not_finite_speed"] == 2
    assert {"source": "trains", "reason": "no_line", "record": "as it was"} in lines


def test_csv_has_one_column_for_each_class(spark, model, tmp_path):
    rows = [good(1)]
    scored(spark, model, tmp_path, rows, classes=("slow",), format="csv")
    (file,) = (tmp_path / SCORES).iterdir()
    assert file.read_text().splitlines() == ['"row","class","prediction_0"', '1,"slow",2']


def test_an_output_that_the_model_lacks_is_named(spark, model, tmp_path):
    with pytest.raises(Exception, match="has no output 'probability'"):
        scored(spark, model, tmp_path, [good(1)], prediction="probability")


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(ComponentError, match="holds no SavedModel"):
        check_model(str(tmp_path), ("speed",), ())


def test_a_model_of_other_features_is_an_error_before_any_row_is_read(tmp_path):
    module = tf.Module()
    serve = tf.function(lambda examples: {"prediction": examples}).get_concrete_function(
        tf.TensorSpec([None], tf.string)
    )
    raw = tf.function(lambda speed, age: {"prediction": speed}).get_concrete_function(
        speed=tf.TensorSpec([None], name="speed"), age=tf.TensorSpec([None], name="age")
    )
    signatures = {"serving_default": serve, "raw_features": raw}
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    with pytest.raises(ComponentError, match="Only the model has: age; only the app"):
        check_model(str(tmp_path), ("speed", "line"), ())
