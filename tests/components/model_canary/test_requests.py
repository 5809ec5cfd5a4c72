"""Requests made of examples, for whatever the signatures of a model take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import prediction_log_pb2

from base.shared_names import WARM_UP_FILE
from components.model_canary.requests import (
    request_of,
    request_of_arrays,
    request_of_features,
    requests_of_other_signatures,
    signatures_of,
    write_warm_up,
)

pytestmark = pytest.mark.unit
TEXT, WHOLE, REAL = tf.string, tf.int64, tf.float32


def signature(**inputs: tuple[tf.DType, list[int]]) -> meta_graph_pb2.SignatureDef:
    found = meta_graph_pb2.SignatureDef()
    for name, (dtype, sizes) in inputs.items():
        found.inputs[name].dtype = dtype.as_datatype_enum
        for size in sizes:
            found.inputs[name].tensor_shape.dim.add(size=size)
    return found


def example(**features: list[Any]) -> bytes:
    made = tf.train.Example()
    for name, values in features.items():
        feature = made.features.feature[name]
        if isinstance(values[0], bytes):
            feature.bytes_list.value.extend(values)
        elif isinstance(values[0], int):
            feature.int64_list.value.extend(values)
        else:
            feature.float_list.value.extend(values)
    return bytes(made.SerializeToString())


EXAMPLES = [
    example(word=[b"a"], count=[3], price=[1.5], clicks=[b"x", b"y"], hours=[0.5]),
    example(word=[b"b"], price=[2.5], place=[1.0, 2.0]),
]


def asked(**inputs: tuple[tf.DType, list[int]]) -> dict[str, Any] | None:
    """Input -> values of the request that is made of EXAMPLES."""
    found = request_of_features("m", "s", signature(**inputs), EXAMPLES)
    if found is None:
        return None
    assert (found.model_spec.name, found.model_spec.signature_name) == ("m", "s")
    return {name: tf.make_ndarray(tensor).tolist() for name, tensor in found.inputs.items()}


def test_a_single_text_takes_the_examples() -> None:
    assert asked(inputs=(TEXT, [-1])) == {"inputs": EXAMPLES}


def test_a_feature_is_a_tensor_and_one_that_is_missing_is_zero() -> None:
    wanted = {"word": (TEXT, [-1]), "count": (WHOLE, [-1]), "price": (REAL, [-1, 1])}
    assert asked(**wanted) == {"word": [b"a", b"b"], "count": [3, 0], "price": [[1.5], [2.5]]}


def test_lists_are_filled_up_to_the_longest() -> None:
    wanted = {"clicks": (TEXT, [-1, -1]), "hours": (REAL, [-1, -1]), "word": (TEXT, [-1])}
    assert asked(**wanted) == {
        "clicks": [[b"x", b"y"], [b"", b""]],
        "hours": [[0.5], [0.0]],
        "word": [b"a", b"b"],
    }


def test_a_known_number_of_values_is_filled_up_for_an_example_that_has_none() -> None:
    assert asked(clicks=(TEXT, [-1, 2]), place=(REAL, [-1, 2])) == {
        "clicks": [[b"x", b"y"], [b"", b""]],
        "place": [[0.0, 0.0], [1.0, 2.0]],
    }
    assert asked(clicks=(TEXT, [-1, 3])) is None  # one has two


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"word_xf": (WHOLE, [-1]), "price_xf": (REAL, [-1])},
        {"word": (WHOLE, [-1])},
        {"price": (tf.float64, [-1])},
        {"price": (REAL, [])},
        {"hours": (REAL, [-1, -1, 3])},
    ],
    ids=["no input", "no feature", "another type", "no type of theirs", "one number", "a cube"],
)
def test_what_is_not_in_the_examples_is_none(inputs: dict[str, Any]) -> None:
    assert asked(**inputs) is None


class Counting(tf.Module):
    """A signature that can be asked, and one that counts how often it is."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], REAL, "price")])
    def double(self, price: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * price}

    @tf.function(input_signature=[tf.TensorSpec([None], REAL, "price")])
    def counted(self, price: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": price + self.count.assign_add(1)}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, module = tmp_path_factory.mktemp("exported"), Counting()
    signatures = {"double": module.double, "counted": module.counted}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def test_signatures_are_read_without_loading(exported: Path) -> None:
    found = signatures_of(exported)
    assert found.keys() == {"double", "counted"}
    assert found["double"].inputs["price"].dtype == REAL.as_datatype_enum


def test_a_signature_that_writes_is_not_asked(exported: Path) -> None:
    (found,) = requests_of_other_signatures("m", exported, EXAMPLES)
    assert found.model_spec.signature_name == "double"
    assert tf.make_ndarray(found.inputs["price"]).tolist() == [1.5, 2.5]


def test_a_warm_up_file_names_signatures_and_no_model(tmp_path: Path) -> None:
    arrays = {"x": np.ones(2, np.float32)}
    requests = [request_of("m", EXAMPLES), request_of_arrays("m", "double", arrays)]
    write_warm_up(tmp_path / WARM_UP_FILE, requests)
    logs = tf.data.TFRecordDataset(str(tmp_path / WARM_UP_FILE)).as_numpy_iterator()
    found = [prediction_log_pb2.PredictionLog.FromString(one).predict_log.request for one in logs]
    assert [one.model_spec.signature_name for one in found] == ["", "double"]
    assert {one.model_spec.name for one in found} == {""}
    assert tf.make_ndarray(found[1].inputs["x"]).tolist() == [1, 1]
