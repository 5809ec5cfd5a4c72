"""Drift of features between spans, and between training and serving."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.application import load_application
from streaming.online_evaluation.drift import HOUR_BEFORE, SERVING, distances, with_comparators
from streaming.online_evaluation.served_examples import is_served, statistics_of
from streaming.watermark import HOUR_MS

pytestmark = pytest.mark.component

HOUR = 474_000
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def schema() -> schema_pb2.Schema:
    made = schema_pb2.Schema()
    for name, kind in (("price", "FLOAT"), ("device", "BYTES"), ("id", "BYTES"), ("label", "INT")):
        made.feature.add(name=name, type=kind)
    return made


def rows(price: float = 10.0, phone: float = 0.5, count: int = 3000) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "price": RNG.normal(price, 2.0, count).astype(np.float32),
            "device": RNG.choice(["phone", "desk"], count, p=[phone, 1 - phone]),
            "id": [f"i{n}" for n in range(count)],
            "label": RNG.integers(0, 2, count),
        }
    )


def found(schema: schema_pb2.Schema, **given: pd.DataFrame) -> dict[tuple[str, str], float]:
    stats = {name: tfdv.generate_statistics_from_dataframe(frame) for name, frame in given.items()}
    chosen = with_comparators(schema, 0.2, ["id", "label"])
    measured = distances(chosen, stats["hour"], stats.get("before"), stats.get("served"))
    assert [one.value for one in measured] == sorted((one.value for one in measured), reverse=True)
    assert {one.threshold for one in measured} == {0.2}
    return {(one.feature, one.against): one.value for one in measured}


def test_equal_distributions_have_small_distances(schema: schema_pb2.Schema) -> None:
    near = found(schema, hour=rows(), before=rows(), served=rows().drop(columns="label"))
    assert set(near) == {(f, a) for f in ("price", "device") for a in (HOUR_BEFORE, SERVING)}
    assert max(near.values()) < 0.05


def test_shifted_distributions_have_large_distances(schema: schema_pb2.Schema) -> None:
    far = found(schema, hour=rows(), before=rows(price=16.0), served=rows(phone=0.98))
    assert far["price", HOUR_BEFORE] > 0.5
    assert far["device", SERVING] > 0.2
    assert max(far["device", HOUR_BEFORE], far["price", SERVING]) < 0.1


def test_a_feature_missing_from_requests_does_not_count_as_drift(schema: schema_pb2.Schema) -> None:
    served = rows().drop(columns=["label", "price"])
    assert {f for f, _ in found(schema, hour=rows(), served=served)} == {"device"}


def test_comparators_of_the_schema_are_kept(schema: schema_pb2.Schema) -> None:
    own = schema_pb2.Schema()
    own.CopyFrom(schema)
    own.feature[1].drift_comparator.infinity_norm.threshold = 0.01
    chosen = with_comparators(own, 0.2, [])
    assert chosen.feature[1].drift_comparator.infinity_norm.threshold == 0.01
    assert not chosen.feature[1].drift_comparator.HasField("jensen_shannon_divergence")
    assert chosen.feature[1].skew_comparator.jensen_shannon_divergence.threshold == 0.2
    assert not own.feature[0].HasField("skew_comparator")  # the one that was given stays as it is


def logged(examples: Sequence[bytes], context: Any, timestamp_ms: int) -> dict[str, Any]:
    return {
        "request_id": "r",
        "version": 1,
        "label": "stable",
        "signature": "",
        "examples": [base64.b64encode(one).decode() for one in examples],
        "scores": [0.5] * len(examples),
        "keys": {"user_id": ["u"] * len(examples), "item_id": ["i"] * len(examples)},
        "context": context,
        "timestamp_ms": timestamp_ms,
    }


def page(count: int, **more: Any) -> dict[str, Any]:
    """Returns the context of a page, as a ranking service of the CTR application sends it."""
    places = range(1, count + 1)
    shown = {"shown": [f"a{place}" for place in places], "positions": [*places]}
    return {**shown, "propensities": [1.0] * count, **more}


def example(price: float) -> bytes:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[price]))
    features = tf.train.Features(feature={"price": feature})
    return bytes(tf.train.Example(features=features).SerializeToString())


def write_log(folder: Path, hour: str, lines: Sequence[dict[str, Any]]) -> None:
    path = folder / hour / "a.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


def test_only_examples_shown_in_the_hour_count(schema: schema_pb2.Schema, tmp_path: Path) -> None:
    inside = HOUR * HOUR_MS + 5
    write_log(
        tmp_path,
        "2024-01-28/00",
        [
            logged([example(1.0), example(2.0)], page(2), inside),
            logged([example(9.0)], None, inside),  # candidates
            logged([example(9.0)], page(2), inside),  # malformed, as `streaming feedback` says
            logged([example(9.0)], page(1), inside + HOUR_MS),
            logged([example(3.0)], page(1, timestamp_ms=inside), inside + HOUR_MS),
            logged([example(9.0)], page(1, timestamp_ms="late"), inside + HOUR_MS),
        ],
    )
    write_log(tmp_path, "2024-01-27/00", [logged([example(9.0)], page(1), inside)])  # long before
    shown = is_served(load_application("applications.ctr"))
    served = statistics_of(tmp_path, HOUR, schema, 100, shown)
    assert served is not None
    (price,) = [f for f in served.datasets[0].features if f.path.step[0] == "price"]
    assert price.num_stats.common_stats.num_non_missing == 3
    assert price.num_stats.max == 3.0
    few = statistics_of(tmp_path, HOUR, schema, 2, shown)
    assert few is not None
    assert few.datasets[0].num_examples == 2
    assert statistics_of(tmp_path, HOUR + 5, schema, 100, shown) is None


def test_every_request_counts_for_an_application_that_makes_no_events(
    schema: schema_pb2.Schema, tmp_path: Path
) -> None:
    inside = HOUR * HOUR_MS + 5
    lines = [logged([example(1.0)], None, inside), logged([example(2.0)], "text", inside)]
    write_log(tmp_path, "2024-01-28/00", lines)
    every = is_served(load_application("applications.movielens"))
    served = statistics_of(tmp_path, HOUR, schema, 100, every)
    assert served is not None
    assert served.datasets[0].num_examples == 2
