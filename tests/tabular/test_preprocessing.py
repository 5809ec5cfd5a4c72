"""Computations of the Transform step beyond TFT's own functions."""

from __future__ import annotations

import functools

import pytest
import tensorflow as tf

from tabular.feature_set import FeatureSet, Numeric
from tabular.preprocessing import hours_since_last, preprocess

pytestmark = pytest.mark.unit


def test_hours_since_the_last_event_with_the_rows_own_value() -> None:
    # Filled up with "" and 0, as the Transform step does.
    events = tf.constant(
        [["toys", "books", "toys"], ["books", "", ""], ["", "", ""], ["toys", "", ""]]
    )
    ages = tf.constant([[1.5, 2.0, 9.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [500.0, 0.0, 0.0]])
    current = tf.constant(["toys", "toys", "", "toys"])
    found = hours_since_last(events, ages, current, longest=168.0).numpy().tolist()
    assert found == [1.5, 168.0, 168.0, 168.0]


def test_a_declared_feature_that_the_schema_does_not_have_is_named() -> None:
    features = FeatureSet(label="y", features=(Numeric("age"),))
    with pytest.raises(ValueError, match="Missing: age"):
        preprocess({"y": tf.constant([[1]])}, features)


def test_a_weight_that_may_be_missing_is_an_error_that_names_it() -> None:
    """Such a schema has no shape, and each example has any number of values."""
    paid = FeatureSet("paid", (Numeric("a"),), weight="cost")
    one = tf.constant([[1.0]])
    outputs_of = functools.partial(preprocess, features=paid)
    with pytest.raises(ValueError, match="the weight cost must have one number in every example"):
        outputs_of({"paid": one, "a": one, "cost": tf.sparse.from_dense(one)})
    with pytest.raises(ValueError, match="Missing: cost"):
        outputs_of({"paid": one, "a": one})
