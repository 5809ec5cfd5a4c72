"""The validation metrics of a round are exact, whatever the scores are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from sklearn import metrics

from tabular.training.examples import Examples
from tabular.training.validation import Scorer, validation_metrics
from tests.tabular.training.small_training import BINARY, EVAL, SPEC, make_model, write_examples

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("shift", [0.0, -9.0, 9.0])
def test_loss_and_auc_are_those_of_scikit_learn(evaluation: Examples, shift: float) -> None:
    """Also where all scores are below 0.001, or above 0.999."""
    model = make_model(0.01)
    model.layers[-1].bias.assign_add([shift])
    scored = Scorer(model).scores(evaluation)
    labels, scores = scored.labels, scored.scores
    found = validation_metrics(Scorer(model), evaluation, tf.distribute.get_strategy(), BINARY)
    exact = scores.astype(float)
    assert found["val_auc"] == pytest.approx(metrics.roc_auc_score(labels, exact), abs=1e-9)
    assert found["val_loss"] == pytest.approx(metrics.log_loss(labels, exact), abs=1e-9)


def test_the_loss_has_no_penalty_of_regularization(evaluation: Examples) -> None:
    model = make_model(0.01)
    before = validation_metrics(Scorer(model), evaluation, tf.distribute.get_strategy(), BINARY)
    model.add_loss(lambda: tf.constant(7.0))
    assert (
        validation_metrics(Scorer(model), evaluation, tf.distribute.get_strategy(), BINARY)
        == before
    )


def test_scores_that_are_not_finite_give_no_loss(evaluation: Examples) -> None:
    model = make_model(0.01)
    model.layers[-1].bias.assign([np.nan])
    found = validation_metrics(Scorer(model), evaluation, tf.distribute.get_strategy(), BINARY)
    assert np.isnan([found["val_loss"], found["val_auc"]]).all()


def test_an_empty_share_has_no_rows(tmp_path: Path) -> None:
    write_examples(tmp_path, "eval", 0, files=1)
    nothing = Examples.matching("eval", [str(tmp_path / EVAL)], SPEC, "clicked")
    model: keras.Model = make_model(0.01)
    assert len(Scorer(model).scores(nothing).labels) == 0
