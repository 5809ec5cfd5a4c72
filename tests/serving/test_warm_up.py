"""The warm-up of a version, before its first request."""

from __future__ import annotations

import collections
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from base.shared_names import WARM_UP_FILE
from components.model_canary.requests import request_of_arrays, write_warm_up
from serving.server import warm_up as warming
from serving.server.errors import ServingError
from serving.server.loaded_model import Batching, LoadedModel
from tests.serving.scorer import example, request

pytestmark = pytest.mark.component
BATCHED = {"serving_default", "picky", "counting", "counting_deeper"}
SPEC = {"weight": tf.io.FixedLenFeature([], tf.float32), "tags": tf.io.VarLenFeature(tf.string)}


class Weighed(tf.Module):
    """score = weight, and signatures that reject zeros or write variables."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0)

    def from_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.io.parse_example(examples, SPEC)["weight"]}

    def from_features(self, weight: tf.Tensor, tags: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": weight, "tags": tf.reduce_sum(tf.strings.length(tags), axis=1)}

    def picky(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        check = tf.raw_ops.Assert(condition=tf.reduce_all(x > 0), data=["x must be positive"])
        with tf.control_dependencies([check]):
            return {"y": tf.identity(x)}

    def counting(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + tf.cast(self.count.assign_add(1), tf.float32)}

    def counting_deeper(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.cond(
            tf.reduce_all(x > 9), lambda: {"y": x}, lambda: tf.function(self.counting)(x)
        )


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    model, path = Weighed(), tmp_path_factory.mktemp("weighed") / "1"
    text = lambda size, name: tf.TensorSpec([None, *size], tf.string, name)  # noqa: E731
    x, weight = (tf.TensorSpec([None], tf.float32, name) for name in ("x", "weight"))
    concrete = lambda function, *specs: tf.function(function).get_concrete_function(*specs)  # noqa: E731
    signatures = {
        "serving_default": concrete(model.from_examples, text([], "examples")),
        "features": concrete(model.from_features, weight, text([None], "tags")),
        "picky": concrete(model.picky, x),
        "counting": concrete(model.counting, x),
        "counting_deeper": concrete(model.counting_deeper, x),
    }
    tf.saved_model.save(model, str(path), signatures=signatures)
    return path


@pytest.fixture
def model(saved: Path) -> Iterator[LoadedModel]:
    loaded = LoadedModel(saved, "weighed", Batching())
    yield loaded
    loaded.close()


@pytest.fixture
def computed(model: LoadedModel) -> dict[tuple[bool, str], list[list[np.ndarray]]]:
    """Records the inputs of each computation by (whether it was batched, signature)."""
    found: dict[tuple[bool, str], list[list[np.ndarray]]] = collections.defaultdict(list)
    for key, call in [*model.calls.items()]:

        def spy(*rows: np.ndarray, key=key, call=call) -> list[np.ndarray]:
            found[key].append([*rows])
            return call(*rows)

        model.calls[key] = spy
    return found


def with_requests(saved: Path, folder: Path, *requests: predict_pb2.PredictRequest) -> Path:
    shutil.copytree(saved, folder / "1")
    write_warm_up(folder / "1" / WARM_UP_FILE, requests)
    return folder / "1"


def test_every_signature_is_computed_alone_and_through_the_scheduler(
    model: LoadedModel, saved: Path, computed
) -> None:
    assert warming.warm_up(model, saved) == 0
    asked = {"serving_default", "picky"}
    assert {name for batched, name in computed if batched} == asked
    assert {name for batched, name in computed if not batched} == {*asked, "features"}
    assert [len(weight) for _, weight in computed[False, "features"]] == [1, 64]
    assert {name for batched, name in model.calls if batched} == BATCHED


def test_a_version_is_served_if_it_rejects_synthetic_requests(
    model: LoadedModel, saved: Path, caplog
) -> None:
    with caplog.at_level(logging.DEBUG):
        warming.warm_up(model, saved)
    rejections = [record for record in caplog.records if "rejects" in record.message]
    assert {record.args[0] for record in rejections} == {"serving_default", "picky"}
    assert {record.levelname for record in rejections} == {"DEBUG"}
    (found,) = model.run("picky", {"x": np.array([2], np.float32)}, ["y"])
    assert found == [2]


def test_a_signature_that_writes_is_not_warmed_up(model: LoadedModel, saved: Path) -> None:
    assert model.writing == {"counting", "counting_deeper"}
    warming.warm_up(model, saved)
    (found,) = model.run("counting", {"x": np.zeros(1, np.float32)}, ["y"])
    assert found == [1]


def test_feature_tensors_are_made_of_the_recorded_examples(
    model: LoadedModel, saved: Path, tmp_path: Path, computed
) -> None:
    asked = request(example(1.5, tags=[b"a", b"bc"]), example(2.5, tags=[b"d"]))
    assert warming.warm_up(model, with_requests(saved, tmp_path, asked)) == 1
    one, both = computed[False, "features"]  # lists are never batched
    assert [array.tolist() for array in one] == [[[b"a", b"bc"]], [1.5]]
    assert [array.tolist() for array in both] == [[[b"a", b"bc"], [b"d", b""]], [1.5, 2.5]]


def test_recorded_requests_are_computed_alone_and_batched(
    model: LoadedModel, saved: Path, tmp_path: Path, computed
) -> None:
    arrays = {"weight": np.ones(3, np.float32), "tags": np.full([3, 2], b"x", object)}
    asked = [
        request(example(1.5)),
        request(example(2.5)),
        request_of_arrays("", "features", arrays),
    ]
    assert warming.warm_up(model, with_requests(saved, tmp_path, *asked)) == 3
    assert len(computed[True, "serving_default"]) == 2
    assert len(computed[False, "serving_default"]) == 1
    assert [len(weight) for _, weight in computed[False, "features"]] == [3, 3]


def test_a_recorded_request_that_the_model_rejects_is_an_error(
    model: LoadedModel, saved: Path, tmp_path: Path
) -> None:
    refused = request_of_arrays("", "picky", {"x": np.zeros(1, np.float32)})
    with pytest.raises(ServingError, match="x must be positive"):
        warming.warm_up(model, with_requests(saved, tmp_path, refused))


def test_requests_are_computed_as_usual_after_a_failed_warm_up(
    model: LoadedModel, computed
) -> None:
    with pytest.raises(KeyError), model.warming_up(batched=True):
        raise KeyError
    model.run("picky", {"x": np.ones(1, np.float32)}, ["y"])
    assert [*computed] == [(False, "picky")]


def test_a_recorded_request_of_another_kind_is_an_error(
    model: LoadedModel, saved: Path, tmp_path: Path
) -> None:
    version = with_requests(saved, tmp_path)
    with tf.io.TFRecordWriter(str(version / WARM_UP_FILE)) as writer:
        writer.write(prediction_log_pb2.PredictionLog().SerializeToString())
    with pytest.raises(ValueError, match="Received: None"):
        warming.warm_up(model, version)


def test_a_damaged_file_is_an_error(model: LoadedModel, saved: Path, tmp_path: Path) -> None:
    version = with_requests(saved, tmp_path, request(example()))
    (version / WARM_UP_FILE).write_bytes((version / WARM_UP_FILE).read_bytes()[:-3])
    with pytest.raises(ValueError, match="is damaged"):
        warming.warm_up(model, version)
