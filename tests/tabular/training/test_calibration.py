"""Probabilities fitted to another split: right on the whole, the same order, or left alone."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from tabular.training.calibration import calibrate
from tabular.training.examples import Examples
from tests.tabular.training.small_training import BINARY, EVAL, SPEC, make_model, write_examples

pytestmark = pytest.mark.unit


@pytest.fixture
def model(evaluation: Examples) -> keras.Model:
    """It ranks well, and its probabilities are far too low and too close together."""
    model = make_model(0.01)
    model.fit(evaluation.in_order(64), epochs=2, verbose=0)
    output = model.layers[-1]
    output.kernel.assign(output.kernel * 0.5)
    output.bias.assign(output.bias - 2.0)
    return model


def predicted(model: keras.Model, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    batches = list(examples.in_order(8192))
    probability = np.concatenate([model(x).numpy()[:, 0] for x, _ in batches])
    return probability, np.concatenate([y.numpy()[:, 0] for _, y in batches])


def test_it_is_right_on_the_whole_and_ranks_as_before(
    model: keras.Model, evaluation: Examples
) -> None:
    before, clicked = predicted(model, evaluation)
    assert before.mean() < 0.6 * clicked.mean()
    calibrate(model, BINARY, evaluation)
    after, _ = predicted(model, evaluation)
    assert after.mean() == pytest.approx(clicked.mean(), rel=1e-3)
    rounding = 4 * np.finfo(np.float32).eps  # of a batch's product, on some CPUs
    assert (np.diff(after[np.argsort(before)]) >= -rounding).all()
    high = after > np.quantile(after, 0.8)
    assert after[high].mean() == pytest.approx(clicked[high].mean(), rel=0.05)


def test_what_cannot_be_calibrated_stays_as_it_is(
    model: keras.Model, evaluation: Examples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    output = model.layers[-1]
    output.kernel.assign(-output.kernel)
    before, _ = predicted(model, evaluation)
    calibrate(model, BINARY, evaluation)
    assert "ranks no better than chance" in caplog.text
    np.testing.assert_array_equal(predicted(model, evaluation)[0], before)

    write_examples(tmp_path, "eval", 1, files=1)
    one = Examples.matching("eval", [str(tmp_path / EVAL)], SPEC, "clicked")
    calibrate(model, BINARY, one)
    assert "all labels of the eval split are" in caplog.text
    np.testing.assert_array_equal(predicted(model, evaluation)[0], before)
