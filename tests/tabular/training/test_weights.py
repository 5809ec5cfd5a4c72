"""Weights of rows and classes: what the model learns of them, and what it still predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tabular.feature_set import FeatureSet, Numeric
from tabular.keras_model import build_model, compile_model
from tabular.labels import ClassWeights, LabelSummary, loss_factors, weights_of_classes
from tabular.parameters import TrainerParameters, check_network
from tabular.preprocessing import DENSE_VECTOR
from tabular.training import examples as module
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds, weighted

pytestmark = pytest.mark.unit

PAID = FeatureSet("paid", (Numeric("a"), Numeric("b")))
ROWS, BATCH, ROUNDS = 30_000, 250, 4


def rare_events() -> tuple[np.ndarray, np.ndarray]:
    """Features and labels, of which one in fifty is 1."""
    chance = np.random.default_rng(3)
    x = chance.normal(size=(ROWS, 2)).astype(np.float32)
    log_odds = 1.2 * x[:, 0] - 0.8 * x[:, 1] - 4.7
    return x, (chance.random(ROWS) < 1 / (1 + np.exp(-log_odds))).astype(np.float32)


def trained(
    x: np.ndarray,
    labels: np.ndarray,
    class_weights: ClassWeights | None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """The probabilities of a logistic regression, not calibrated."""
    keras.utils.set_random_seed(7)
    parameters = TrainerParameters(
        model="logistic_regression",
        optimizer="adam",
        learning_rate=0.05,
        weight_averaging=0,
        class_weights=class_weights,
    )
    found = LabelSummary.of(labels, weights, classes=2)
    model = build_model(PAID, {}, 2, parameters, found)
    steps = ROWS // BATCH
    compile_model(model, PAID, parameters, Rounds(steps, ROUNDS, ROUNDS), found)
    columns: tuple[Any, ...] = ({DENSE_VECTOR: x}, labels[:, np.newaxis])
    columns += () if weights is None else (weights[:, np.newaxis],)
    factors = loss_factors(weights_of_classes(class_weights, found), weights is not None, found)
    batches = tf.data.Dataset.from_tensor_slices(columns).shuffle(ROWS, seed=1).batch(BATCH)
    batches = batches if factors is None else batches.map(weighted(factors))
    model.fit(batches, epochs=ROUNDS, verbose=0)
    return np.asarray(model({DENSE_VECTOR: tf.constant(x)}))[:, 0]


@pytest.mark.parametrize("class_weights", ["balanced", {1: 50}])
def test_class_weights_leave_the_base_rate_and_the_ranking(class_weights: ClassWeights) -> None:
    x, labels = rare_events()
    assert 1 / 60 < labels.mean() < 1 / 40
    plain, found = trained(x, labels, None), trained(x, labels, class_weights)
    # A model of the weighted data would predict one half on average.
    assert found.mean() == pytest.approx(labels.mean(), rel=0.15)
    assert spearmanr(plain, found).statistic > 0.99
    assert roc_auc_score(labels, found) == pytest.approx(roc_auc_score(labels, plain), abs=0.003)


def test_it_is_the_weighted_model_corrected_by_the_weights() -> None:
    """Exactly, which a logistic regression of scikit-learn shows."""
    x, labels = rare_events()
    found = trained(x, labels, {1: 50})
    other = LogisticRegression(C=np.inf).fit(x, labels, np.where(labels > 0, 50.0, 1.0))
    log_odds = other.decision_function(x) - np.log(50)
    ours = np.log(found) - np.log1p(-found)
    assert np.corrcoef(ours, log_odds)[0, 1] > 0.999
    assert (ours - log_odds).mean() == pytest.approx(0, abs=0.1)


def test_weights_of_rows_change_the_base_rate() -> None:
    """Weights say how many examples a row stands for, so the model predicts the weighted data."""
    x, labels = rare_events()
    weights = np.where(labels > 0, 1000.0, 100.0).astype(np.float32)
    found = trained(x, labels, None, weights)
    expected = np.average(labels, weights=weights)
    assert np.average(found, weights=weights) == pytest.approx(expected, rel=0.05)
    assert expected > 5 * labels.mean()


def test_factors_keep_the_mean_weight_of_a_row_at_1() -> None:
    labels = np.array([0.0, 0, 0, 1])
    found = LabelSummary.of(labels, classes=2)
    balanced = weights_of_classes("balanced", found)
    assert balanced is not None
    assert balanced == pytest.approx([4 / (2 * 3), 4 / 2])
    factors = loss_factors(np.array([1.0, 50.0]), False, found)
    assert factors is not None
    assert factors[labels.astype(int)].mean() == pytest.approx(1)
    assert factors[1] / factors[0] == pytest.approx(50)
    weights = np.array([3.0, 0, 5, 8])
    factors = loss_factors(None, True, LabelSummary.of(labels, weights, classes=2))
    assert factors is not None
    assert (factors * weights).mean() == pytest.approx(1)
    assert loss_factors(None, False, found) is None


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_weights_are_read_with_the_examples(
    cache_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", cache_bytes)
    floats = {"x": [0.1, 0.2, 0.3], "cost": [0.0, 2.5, -1.0]}
    with tf.io.TFRecordWriter(str(tmp_path / "0.gz"), "GZIP") as writer:
        for row in range(3):
            features = {
                name: tf.train.Feature(float_list=tf.train.FloatList(value=[values[row]]))
                for name, values in floats.items()
            }
            features["paid"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[row % 2]))
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    spec = {name: tf.io.FixedLenFeature([], tf.float32) for name in floats}
    spec["paid"] = tf.io.FixedLenFeature([], tf.int64)
    found = Examples((str(tmp_path / "0.gz"),), spec, "paid", weight="cost", classes=2)
    assert found.labels == LabelSummary(3, 1.5, 2.5 / 1.5, found.labels.squares, (-1, 2.5), 0, 1)
    ((features, labels, weights),) = found.in_order(8)
    assert features.keys() == {"x"}
    assert labels.numpy().tolist() == [[0], [1], [0]]
    assert weights.numpy().tolist() == [[0], [2.5], [-1]]


@pytest.mark.parametrize(
    ("given", "task", "said"),
    [
        ({2: 5.0}, "binary", "class_weights: expected labels from 0 to 1. Received: 2"),
        ("balanced", "regression", "class_weights: a regression has no classes"),
    ],
)
def test_class_weights_that_do_not_fit_are_an_error(given: ClassWeights, task, said: str) -> None:
    features = FeatureSet("paid", (Numeric("a"),), task=task)
    with pytest.raises(ValueError, match=said):
        check_network(TrainerParameters(class_weights=given), features)


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_a_class_weight_must_be_above_0(weight: float) -> None:
    with pytest.raises(ValueError, match="the weight of label 1 must be a finite number above 0"):
        TrainerParameters(class_weights={"1": weight})
