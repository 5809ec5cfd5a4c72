"""Every network: shapes, what it may look at, and that it learns."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from applications.ctr.features import FEATURES
from tabular.embedding_tables import EmbeddingTables, TableRows, embedding_width, table_rows
from tabular.feature_set import Categorical, Cross, FeatureSet, Numeric, Ordinal, transformed
from tabular.feature_set import Sequence as DeclaredSequence
from tabular.keras_model import build_model, compile_model, input_names
from tabular.labels import LabelSummary
from tabular.layers import CrossLayer, FactorizationMachine, SequenceAttention
from tabular.networks import NETWORKS
from tabular.parameters import ON_SEQUENCES, TrainerParameters, check_network
from tabular.preprocessing import DENSE_VECTOR, index_sizes
from tabular.training.rounds import Rounds

pytestmark = pytest.mark.unit

VOCABULARIES = {one.name: 8 for one in FEATURES.categorical}
SIZES = index_sizes(FEATURES, VOCABULARIES)
DENSE = 5
(RECENT,) = FEATURES.sequences
LISTS = [transformed(name) for name in RECENT.columns]
HOURS = transformed(str(RECENT.ages))


def batch(rows: int, seed: int = 1, features: FeatureSet = FEATURES) -> dict[str, tf.Tensor]:
    """Random transformed features."""
    chance = np.random.default_rng(seed)
    sizes = index_sizes(features, {one.name: 8 for one in features.categorical})
    columns: dict[str, Any] = {name: chance.integers(0, size, rows) for name, size in sizes.items()}
    if any(one.scale for one in features.numeric):
        columns[DENSE_VECTOR] = chance.normal(size=(rows, DENSE)).astype(np.float32)
    for sequence in features.sequences:
        for name in sequence.columns:
            columns[transformed(name)] = chance.integers(-1, 8, (rows, sequence.length))
        if sequence.ages is not None:
            ages = chance.random((rows, sequence.length)).astype(np.float32)
            columns[transformed(sequence.ages)] = ages
    return {name: tf.constant(values) for name, values in columns.items()}


LABELS = LabelSummary(100, 100, 0.2, 16.0, (80, 20))


@pytest.fixture(params=sorted(NETWORKS))
def parameters(request) -> TrainerParameters:
    return TrainerParameters(model=request.param, optimizer="adam", learning_rate=0.01)


def test_a_network_starts_at_the_base_rate_and_learns(parameters: TrainerParameters) -> None:
    keras.utils.set_random_seed(3)
    model = build_model(FEATURES, SIZES, DENSE, parameters, LABELS)
    compile_model(model, FEATURES, parameters, Rounds(10, 20, patience=0), LABELS)
    assert set(model.input) == set(input_names(FEATURES, SIZES, parameters))
    rows = batch(512)
    assert model(rows).shape == (512, 1)
    assert float(tf.reduce_mean(model(rows))) == pytest.approx(0.2, abs=0.1)
    clicked = tf.cast(rows[transformed("device")] % 2 == 0, tf.float32)[:, tf.newaxis]
    model.fit(rows, clicked, epochs=30, batch_size=128, verbose=0)
    assert model.evaluate(rows, clicked, verbose=0) < 0.3


def test_vocabularies_of_one_token(parameters: TrainerParameters) -> None:
    sizes = index_sizes(FEATURES, dict.fromkeys(VOCABULARIES, 1))
    model = build_model(FEATURES, sizes, DENSE, parameters, LABELS)
    rows = {n: t % sizes[n] if n in sizes else t for n, t in batch(64).items()}
    rows |= {n: tf.minimum(rows[n], 2) for n in LISTS}
    assert np.isfinite(model(rows).numpy()).all()


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"logistic_regression"}))
def test_embeddings_made_beforehand_are_looked_at_and_left_as_they_are(name: str) -> None:
    items = transformed("item_id")
    vectors = np.random.default_rng(0).normal(size=(SIZES[items], 4)).astype(np.float32)
    parameters = TrainerParameters(model=name, optimizer="adam", learning_rate=0.01, dropout=0)
    model = build_model(FEATURES, SIZES, DENSE, parameters, LABELS, {items: vectors})
    compile_model(model, FEATURES, parameters, Rounds(10, 20, patience=0), LABELS)
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
def test_only_networks_on_sequences_look_at_them(name: str) -> None:
    model = build_model(FEATURES, SIZES, DENSE, TrainerParameters(model=name), LABELS)
    rows = batch(64)
    others = batch(64, seed=2)
    sequences = {n for n in rows if n.startswith("recent_")}
    changed = {**rows, **{n: others[n] for n in sequences}}
    same = np.allclose(model(rows), model(changed))
    assert same == (name not in ON_SEQUENCES)


def test_a_place_without_an_event_does_not_count() -> None:
    keras.utils.set_random_seed(3)
    model = build_model(FEATURES, SIZES, DENSE, TrainerParameters(model="din"), LABELS)
    rows = batch(64)
    for name in LISTS:
        rows[name] = tf.where(tf.range(10) < 3, rows[name], -1)
    rows[HOURS] = tf.where(tf.range(10) < 3, rows[HOURS], 0.0)
    other = {**rows, HOURS: tf.where(tf.range(10) < 3, rows[HOURS], 99.0)}
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


def test_attention_does_not_depend_on_the_order_of_the_events() -> None:
    chance = np.random.default_rng(0)
    item, clicks = chance.normal(size=(4, 6)), chance.normal(size=(4, 5, 6))
    facts, present = chance.normal(size=(4, 5, 1)), chance.random((4, 5)) < 0.6
    inputs = [tf.constant(x, tf.float32) for x in (item, clicks, facts)]
    layer = SequenceAttention((8,))
    forward = layer([*inputs, tf.constant(present)])
    turned = [inputs[0], *(x[:, ::-1] for x in inputs[1:]), tf.constant(present[:, ::-1])]
    np.testing.assert_allclose(forward, layer(turned), rtol=1e-4, atol=1e-5)


def test_features_of_equal_width_have_rows_of_their_own() -> None:
    sizes = {"a": 10, "b": 20, "c": 10_000}
    rows = table_rows(sizes, embedding_width)
    assert rows["a"] == TableRows(4, 0, 10)
    assert rows["b"] == TableRows(4, 10, 20)
    assert rows["c"] == TableRows(20, 0, 10_000)
    tables = EmbeddingTables(sizes, embedding_width, {"list": "b"}, name="e")
    indices = {"a": [9], "b": [0], "c": [5], "list": [[0, -1, 3]]}
    found = tables({name: tf.constant(value, tf.int64) for name, value in indices.items()})
    small = tables.tables["4"].numpy()
    np.testing.assert_array_equal(found["a"][0], small[9])
    np.testing.assert_array_equal(found["b"][0], small[10])
    np.testing.assert_array_equal(found["list"][0, 2], small[13])
    assert found["c"].shape == (1, 20)


def test_a_network_of_classes_starts_at_their_shares_and_learns(
    parameters: TrainerParameters,
) -> None:
    keras.utils.set_random_seed(3)
    classes = ("arts", "news", "sport")
    topics = dataclasses.replace(FEATURES, task="multiclass", classes=classes)
    labels = LabelSummary(100, 100, of_class=(70, 10, 20))
    model = build_model(topics, SIZES, DENSE, parameters, labels)
    compile_model(model, topics, parameters, Rounds(10, 20, patience=0), labels)
    rows = batch(512)
    start = model(rows).numpy()
    assert start.shape == (512, 3)
    assert start.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert start.mean(axis=0) == pytest.approx((0.7, 0.1, 0.2), abs=0.1)
    topic = tf.cast(rows[transformed("device")] % 3, tf.float32)[:, tf.newaxis]
    model.fit(rows, topic, epochs=30, batch_size=128, verbose=0)
    assert model.evaluate(rows, topic, verbose=0) < 0.5


SMALL_SETS: dict[str, list[Any]] = {
    "a_single_category": [Categorical("a", vocabulary=5)],
    "a_hashed_category": [Categorical("a", hash_buckets=5)],
    "a_single_number": [Numeric("a")],
    "a_single_bucketized_number": [Numeric("a", scale=False, buckets=3)],
    "a_single_ordinal": [Ordinal("a", size=3)],
    "a_cross_of_two_ordinals": [
        Ordinal("a", size=3),
        Ordinal("b", size=3),
        Cross(("a", "b"), hash_buckets=5),
    ],
    "a_sequence_without_ages": [
        Categorical("a", vocabulary=5),
        DeclaredSequence({"b": "a"}, length=3),
    ],
    "two_sequences": [
        Categorical("a", vocabulary=5),
        DeclaredSequence({"b": "a"}, length=3),
        DeclaredSequence({"c": "a"}, length=2, ages="d"),
    ],
}


@pytest.mark.parametrize("given", SMALL_SETS)
def test_any_feature_set_makes_a_network(given: str, parameters: TrainerParameters) -> None:
    features = FeatureSet(label="y", features=tuple(SMALL_SETS[given]))
    if parameters.model in ON_SEQUENCES and not features.sequences:
        with pytest.raises(ValueError, match="din needs at least one Sequence"):
            check_network(parameters, features)
        return
    check_network(parameters, features)
    sizes = index_sizes(features, {one.name: 8 for one in features.categorical})
    width = DENSE if any(one.scale for one in features.numeric) else 0
    model = build_model(features, sizes, width, parameters, LABELS)
    rows = {n: t for n, t in batch(32, features=features).items() if n in model.input}
    scores = model(rows).numpy()
    assert scores.shape == (32, 1)
    assert np.isfinite(scores).all()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(rows))
    assert all(one is not None for one in tape.gradient(loss, model.trainable_weights))
