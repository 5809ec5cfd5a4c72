"""The check within a graph: what it looks at, what it says, and that every loader runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tabular.training.finite import CORRECT_THE_REQUEST, check_finite
from tabular.training.tracing import without_autograph

pytestmark = pytest.mark.unit
NAN, INF = float("nan"), float("inf")


def checked(**values: Any) -> None:
    """Runs the check within a graph, where nothing but the check can fail."""
    tensors = {
        name: one if isinstance(one, tf.SparseTensor) else tf.convert_to_tensor(one)
        for name, one in values.items()
    }
    tf.function(without_autograph(lambda given: check_finite(given)))(tensors)


def floats(*values: float) -> tf.Tensor:
    """[n, 1], as a feature comes."""
    return tf.constant(values, tf.float32)[:, tf.newaxis]


def lists(*rows: list[float]) -> tf.SparseTensor:
    return tf.ragged.constant(rows, tf.float32, ragged_rank=1).to_sparse()


def message(**values: Any) -> str:
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        checked(**values)
    return str(raised.value.message)


def test_finite_numbers_pass_however_large_they_are() -> None:
    largest = float(np.finfo(np.float32).max)
    checked(price=floats(-5, 0, largest, -largest), hours=lists([1e38], [], [-1e38, 0], []))


@pytest.mark.parametrize(("value", "shown"), [(NAN, "nan"), (INF, "inf"), (-INF, "-inf")])
def test_the_message_names_example_feature_value_and_next_step(value: float, shown: str) -> None:
    wanted = f"example 2: price must be a finite number. Received: {shown}. {CORRECT_THE_REQUEST}"
    assert wanted in message(age=floats(1, 2, 3), price=floats(1, 2, value))
    wanted = f"example 1: hours must be a finite number. Received: {shown}. {CORRECT_THE_REQUEST}"
    assert wanted in message(age=floats(1, 2), hours=lists([1.0], [2.0, value]))


def test_a_nan_with_a_sign_is_shown_as_any_other() -> None:
    """What the processor makes of 0 * infinity is one."""
    made = tf.constant([[0.0]]) * tf.constant([[INF]])
    assert "Received: nan." in message(made=made)
    assert "Received: nan." in message(turned=-made)


def test_of_several_the_first_example_is_named_wherever_its_value_is() -> None:
    price, hours = floats(1, NAN, INF), lists([1.0], [2.0], [NAN])
    assert "example 1: price" in message(price=price, hours=hours)
    assert "example 0: hours" in message(price=price, hours=lists([INF], [], []))
    assert "example 1: late" in message(early=floats(0, 0, NAN), late=price)


def test_values_of_any_shape_are_looked_at() -> None:
    assert "example 3: flat" in message(flat=tf.constant([0.0, 0, 0, NAN]))
    assert "example 1: wide" in message(wide=tf.constant([[0.0, 0], [0, INF]]), price=floats(1, 2))
    assert "example 1: deep" in message(deep=tf.constant([[[0.0], [0]], [[0], [INF]]]))


def test_values_of_any_float_type_are_looked_at() -> None:
    double = tf.constant([[1e300], [INF]], tf.float64)
    assert "example 1: double" in message(double=double, price=floats(1, 2))
    assert "example 0: half" in message(half=tf.constant([[NAN]], tf.float16))
    checked(double=tf.constant([[1e300]], tf.float64), price=floats(1))
    checked(brain=tf.constant([[3e38]], tf.bfloat16), half=tf.constant([[6e4]], tf.float16))


def test_what_is_no_float_is_not_looked_at() -> None:
    checked(name=tf.constant([["nan"]]), count=tf.constant([[-1]]))
    assert "example 0: price" in message(name=tf.constant([["nan"]]), price=floats(NAN))


def test_no_examples_and_no_features_pass() -> None:
    checked(price=floats(), hours=lists())
    checked()


def test_a_number_of_values_that_is_not_known_is_an_error_while_the_graph_is_made() -> None:
    spec = tf.TensorSpec([None, None], tf.float32)
    check = tf.function(without_autograph(lambda wide: check_finite({"wide": wide})), [spec])
    with pytest.raises(ValueError, match=r"wide must have the same, known number of values"):
        check.get_concrete_function()


def as_signature(module: tf.Module, folder: Path) -> Callable[..., Any]:
    """As TFMA and TFX's BulkInferrer call a model."""
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def as_session(module: tf.Module, folder: Path) -> Callable[..., Any]:
    """As TensorFlow Serving does."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
    signature = loaded.signature_def["serving_default"]
    run = session.make_callable([signature.outputs["y"].name], [signature.inputs["x"].name])
    return lambda x: run(x.numpy())


@pytest.mark.parametrize("load", [as_signature, as_session])
def test_an_exported_graph_checks_also_what_its_answer_does_not_depend_on(
    load: Callable[..., Any], tmp_path: Path
) -> None:
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        check_finite({"x": x}, "Ask somebody else.")
        return {"y": tf.zeros_like(x)}

    module = tf.Module()
    function = tf.function(without_autograph(serve), [tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": function})
    call = load(module, tmp_path)
    call(x=tf.constant([1.0]))
    wanted = r"example 1: x must be a finite number\. Received: nan\. Ask somebody else\."
    with pytest.raises(tf.errors.InvalidArgumentError, match=wanted):
        call(x=tf.constant([1.0, NAN]))
