"""Every network of the CTR application: shapes, what it may look at, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from applications.ctr import features
from applications.ctr.parameters import TrainerParameters
from tabular import preprocessing
from tabular.embedding_tables import EmbeddingTables, Rows, embedding_width, table_rows
from tabular.keras_model import build_model, compile_model, input_names
from tabular.layers import CrossLayer, FactorizationMachine, InterestAttention
from tabular.networks import NETWORKS, ON_CLICKS
from tabular.training.rounds import Rounds

pytestmark = pytest.mark.unit

SIZES = preprocessing.index_sizes(dict.fromkeys(features.CATEGORICAL, 8))
DENSE = 5


def batch(rows: int, seed: int = 1) -> dict[str, tf.Tensor]:
    chance = np.random.default_rng(seed)
    length = features.RECENT.length
    columns: dict[str, Any] = {name: chance.integers(0, size, rows) for name, size in SIZES.items()}
    columns[preprocessing.DENSE_VECTOR] = chance.normal(size=(rows, DENSE)).astype(np.float32)
    for name in features.SEQUENCES:
        columns[features.transformed(name)] = chance.integers(-1, 8, (rows, length))
    hours = chance.random((rows, length)).astype(np.float32)
    columns[features.transformed(features.RECENT_HOURS)] = hours
    return {name: tf.constant(values) for name, values in columns.items()}


@pytest.fixture(params=sorted(NETWORKS))
def parameters(request) -> TrainerParameters:
    return TrainerParameters(model=request.param, optimizer="adam", learning_rate=0.01)


def test_a_network_starts_at_the_click_rate_and_learns(parameters: TrainerParameters) -> None:
    keras.utils.set_random_seed(3)
    model = build_model(SIZES, DENSE, parameters, click_rate=0.2)
    compile_model(model, parameters, Rounds(steps=10, most=20, patience=0))
    assert set(model.input) == set(input_names(SIZES, parameters))
    rows = batch(512)
    assert model(rows).shape == (512, 1)
    assert float(tf.reduce_mean(model(rows))) == pytest.approx(0.2, abs=0.1)
    clicked = tf.cast(rows[features.transformed("device")] % 2 == 0, tf.float32)[:, tf.newaxis]
    model.fit(rows, clicked, epochs=30, batch_size=128, verbose=0)
    assert model.evaluate(rows, clicked, verbose=0) < 0.3


def test_vocabularies_of_one_token(parameters: TrainerParameters) -> None:
    sizes = preprocessing.index_sizes(dict.fromkeys(features.CATEGORICAL, 1))
    model = build_model(sizes, DENSE, parameters, click_rate=0.2)
    rows = {n: t % sizes[n] if n in sizes else t for n, t in batch(64).items()}
    recent = [features.transformed(n) for n in features.SEQUENCES]
    rows |= {n: tf.minimum(rows[n], 2) for n in recent}
    assert np.isfinite(model(rows).numpy()).all()


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"logistic_regression"}))
def test_embeddings_made_beforehand_are_looked_at_and_left_as_they_are(name: str) -> None:
    items = features.transformed("item_id")
    vectors = np.random.default_rng(0).normal(size=(SIZES[items], 4)).astype(np.float32)
    parameters = TrainerParameters(model=name, optimizer="adam", learning_rate=0.01, dropout=0)
    model = build_model(SIZES, DENSE, parameters, 0.2, {items: vectors})
    compile_model(model, parameters, Rounds(steps=10, most=20, patience=0))
    rows = batch(256)
    # The label is in the vectors only: all rows are the same but for the item.
    rows = {n: t if n == items else tf.repeat(t[:1], 256, axis=0) for n, t in rows.items()}
    fixed = model.get_layer(f"{items}_fixed")
    clicked = tf.cast(tf.gather(fixed.vectors, rows[items])[:, :1] > 0, tf.float32)
    for table in (layer for layer in model.layers if isinstance(layer, EmbeddingTables)):
        table.trainable = False
    model.fit(rows, clicked, epochs=60, batch_size=64, verbose=0)
    assert model.evaluate(rows, clicked, verbose=0) < 0.4
    assert np.array_equal(fixed.vectors.numpy(), vectors)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_only_networks_on_clicks_look_at_them(name: str) -> None:
    model = build_model(SIZES, DENSE, TrainerParameters(model=name), 0.2)
    rows = batch(64)
    others = batch(64, seed=2)
    sequences = {n for n in rows if n.startswith("recent_")}
    changed = {**rows, **{n: others[n] for n in sequences}}
    same = np.allclose(model(rows), model(changed))
    assert same == (name not in ON_CLICKS)


def test_what_is_no_click_does_not_count() -> None:
    keras.utils.set_random_seed(3)
    model = build_model(SIZES, DENSE, TrainerParameters(model="din"), 0.2)
    rows = batch(64)
    lists = [features.transformed(name) for name in features.SEQUENCES]
    hours = features.transformed(features.RECENT_HOURS)
    for name in lists:
        rows[name] = tf.where(tf.range(10) < 3, rows[name], -1)
    rows[hours] = tf.where(tf.range(10) < 3, rows[hours], 0.0)
    other = {**rows, hours: tf.where(tf.range(10) < 3, rows[hours], 99.0)}
    np.testing.assert_allclose(model(rows), model(other))


def test_a_factorization_machine_sums_all_pairs() -> None:
    fields = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    pairs = [(0, 1), (0, 2), (1, 2)]
    by_hand = sum((fields[:, i] * fields[:, j]).sum(axis=1) for i, j in pairs)
    np.testing.assert_allclose(FactorizationMachine()(fields)[:, 0], by_hand, rtol=1e-5)


def test_a_cross_layer_is_the_formula_of_its_paper() -> None:
    start, current = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    layer = CrossLayer()
    got = layer([start, current])
    weights, bias = (w.numpy() for w in layer.weights)
    np.testing.assert_allclose(got, start * (current @ weights + bias) + current, rtol=1e-5)


def test_attention_does_not_depend_on_the_order_of_the_clicks() -> None:
    chance = np.random.default_rng(0)
    item, clicks = chance.normal(size=(4, 6)), chance.normal(size=(4, 5, 6))
    facts, present = chance.normal(size=(4, 5, 1)), chance.random((4, 5)) < 0.6
    inputs = [tf.constant(x, tf.float32) for x in (item, clicks, facts)]
    layer = InterestAttention((8,))
    forward = layer([*inputs, tf.constant(present)])
    turned = [inputs[0], *(x[:, ::-1] for x in inputs[1:]), tf.constant(present[:, ::-1])]
    np.testing.assert_allclose(forward, layer(turned), rtol=1e-4, atol=1e-5)


def test_features_of_equal_width_have_rows_of_their_own() -> None:
    sizes = {"a": 10, "b": 20, "c": 10_000}
    rows = table_rows(sizes, embedding_width)
    assert rows["a"] == Rows(4, 0, 10)
    assert rows["b"] == Rows(4, 10, 20)
    assert rows["c"] == Rows(20, 0, 10_000)
    tables = EmbeddingTables(sizes, embedding_width, {"list": "b"}, name="e")
    indices = {"a": [9], "b": [0], "c": [5], "list": [[0, -1, 3]]}
    found = tables({name: tf.constant(value, tf.int64) for name, value in indices.items()})
    small = tables.tables["4"].numpy()
    np.testing.assert_array_equal(found["a"][0], small[9])
    np.testing.assert_array_equal(found["b"][0], small[10])
    np.testing.assert_array_equal(found["list"][0, 2], small[13])
    assert found["c"].shape == (1, 20)
