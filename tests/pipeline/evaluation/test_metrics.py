"""What is measured, against the same from scikit-learn and numpy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tensorflow_model_analysis.metrics import calibration_histogram, metric_specs
from tensorflow_model_analysis.metrics.calibration_histogram import Bucket

from lineage.evaluation import read_evaluation
from local_run.summary import overall_metrics
from pipeline.evaluation.calibration_error import calibration_error
from pipeline.evaluation.eval_config import eval_config
from pipeline.evaluation.grouped_auc import auc
from pipeline.sections import Evaluator

pytestmark = pytest.mark.unit

PROBABILITIES = np.array([0.05, 0.2, 0.4, 0.8])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1))
def test_auc_is_that_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    labels, predictions = np.array(rows).T
    found = auc(labels, predictions)
    if len(set(labels)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(labels, predictions))


def test_calibration_error_of_groups() -> None:
    right = Bucket(1, weighted_labels=2.0, weighted_predictions=2.0, weighted_examples=50.0)
    high = Bucket(3, weighted_labels=10.0, weighted_predictions=15.0, weighted_examples=50.0)
    low = Bucket(2, weighted_labels=15.0, weighted_predictions=10.0, weighted_examples=50.0)
    assert calibration_error([right], 20) == 0
    assert calibration_error([right, high], 2) == pytest.approx(5 / 100)
    assert calibration_error([high, right, low], 3) == pytest.approx(10 / 150)
    assert calibration_error([high, low], 1) == 0  # one group: right on the whole
    assert math.isnan(calibration_error([], 20))


def rows(count: int) -> pd.DataFrame:
    """Predictions that are too high; users have from one to some tens of rows."""
    random = np.random.default_rng(3)
    probability = random.choice(PROBABILITIES, count)
    users = (random.pareto(1.5, count) * 10).astype(int)
    return pd.DataFrame(
        {
            "clicked": (random.random(count) < 0.7 * probability).astype(int),
            "probability": probability,
            "user_id": np.char.add("u", users.astype(str)),
            "device": np.where(np.arange(count) < count - 1, "phone", "console"),
        }
    )


def test_what_the_evaluator_measures(tmp_path: Path) -> None:
    section = Evaluator(
        label="clicked",
        prediction="probability",
        group="user_id",
        slices=[["device"]],
        confidence_intervals=True,
    )
    config = eval_config(section)
    config.model_specs[0].signature_name = ""  # the predictions are columns here
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            metric.ClearField("per_slice_thresholds")  # nothing to compare with
    frame = rows(2000)
    result = tfma.analyze_raw_data(frame, config, output_path=str(tmp_path))
    metrics, intervals = overall_metrics(str(tmp_path))

    label, probability = frame["clicked"], frame["probability"]
    rates = [label[probability == p].mean() for p in PROBABILITIES]
    shares = [(probability == p).mean() for p in PROBABILITIES]
    groups = [g for _, g in frame.groupby("user_id") if g["clicked"].nunique() == 2]
    weights = [len(g) for g in groups]
    expected = {
        "auc": roc_auc_score(label, probability),
        "grouped_auc": np.average(
            [roc_auc_score(g["clicked"], g["probability"]) for g in groups], weights=weights
        ),
        "log_loss": -np.log(np.where(label, probability, 1 - probability)).mean(),
        "calibration": probability.mean() / label.mean(),
        "expected_calibration_error": np.dot(shares, np.abs(PROBABILITIES - rates)),
    }
    assert metrics == pytest.approx(expected, rel=1e-4)
    assert intervals.keys() == expected.keys()
    for name, (low, high) in intervals.items():
        assert low < metrics[name] < high
    evaluation = read_evaluation(str(tmp_path))
    assert evaluation is not None
    assert [b.labels / b.rows for b in evaluation.calibration] == pytest.approx(rates)
    assert [b.predictions / b.rows for b in evaluation.calibration] == pytest.approx(PROBABILITIES)
    # A slice of one row has metrics where they mean anything, and stops nothing.
    slices = {key: metrics[""][""] for key, metrics in result.slicing_metrics}
    assert slices.keys() == {(), (("device", "phone"),), (("device", "console"),)}
    assert slices[("device", "console"),]["example_count"] == {"doubleValue": 1.0}


def test_auc_and_calibration_error_share_a_histogram() -> None:
    """Else each row is counted twice in each slice, which is the longest part of an evaluation."""
    config = eval_config(Evaluator(label="clicked", prediction="probability"))
    computations = metric_specs.to_computations([*config.metrics_specs], eval_config=config)
    keys = {key for computation in computations for key in computation.keys}
    name = calibration_histogram.CALIBRATION_HISTOGRAM_NAME
    assert len({key.name for key in keys if key.name.startswith(name)}) == 1
