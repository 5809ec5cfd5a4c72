"""The curated schemas let no number pass that a model cannot learn from."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.anomaly_gate.executor import errors_of

SCHEMAS = sorted((Path(__file__).parents[2] / "schemas").glob("*.pbtxt"))
CTR = next(path for path in SCHEMAS if path.stem == "ctr")
NAN, INF = float("nan"), float("inf")
AT_LEAST_ZERO = {"age", "price", "price_to_category", "item_age_hours", "recent_hours"}


def read(path: Path) -> schema_pb2.Schema:
    return text_format.Parse(path.read_text("utf-8"), schema_pb2.Schema())


@pytest.mark.unit
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_every_float_feature_is_guarded_against_nan_and_infinity(path: Path) -> None:
    for feature in read(path).feature:
        if feature.type == schema_pb2.FLOAT:
            domain = feature.float_domain
            assert domain.disallow_nan and domain.disallow_inf, feature.name


@pytest.mark.unit
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_prices_and_ages_are_not_negative_as_the_etl_has_them(path: Path) -> None:
    features = {one.name: one for one in read(path).feature}
    for name in features.keys() & AT_LEAST_ZERO:
        assert features[name].float_domain.HasField("min"), name
        assert features[name].float_domain.min == 0, name


def example(price: float, hours: list[float]) -> bytes:
    made = tf.train.Example()
    made.features.feature["price"].float_list.value.append(price)
    made.features.feature["recent_hours"].float_list.value.extend(hours)
    content: bytes = made.SerializeToString()
    return content


def errors_for(folder: Path, price: float, hours: list[float]) -> dict[str, str]:
    """Feature -> why AnomalyGate stops a run of two hundred examples, one of them with these."""
    path = str(folder / "examples.gz")
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for number in range(200):
            writer.write(example(float(number), [0.5, 2.0]))
        writer.write(example(price, hours))
    schema = schema_pb2.Schema()
    schema.feature.extend(one for one in read(CTR).feature if one.name in ("price", "recent_hours"))
    statistics = tfdv.generate_statistics_from_tfrecord(path)
    anomalies = tfdv.validate_statistics(statistics, schema)
    lines = errors_of(anomalies.SerializeToString(), allowed=set())
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.component
@pytest.mark.parametrize(
    ("price", "hours", "feature", "reason"),
    [
        (NAN, [1.0], "price", "NaN"),
        (INF, [1.0], "price", "Inf"),
        (-INF, [1.0], "price", "Inf"),
        (-5.0, [1.0], "price", "low values: -5<0"),
        (1.0, [1.0, NAN], "recent_hours", "NaN"),
        (1.0, [INF, 1.0], "recent_hours", "Inf"),
    ],
)
def test_one_such_value_in_the_examples_stops_the_run(
    tmp_path: Path, price: float, hours: list[float], feature: str, reason: str
) -> None:
    found = errors_for(tmp_path, price, hours)
    assert list(found) == [feature]
    assert reason in found[feature]


@pytest.mark.component
def test_large_values_and_empty_lists_pass(tmp_path: Path) -> None:
    assert errors_for(tmp_path, 1e38, []) == {}
