"""What TFMA makes of our metrics: on slices, with weights, bounds and a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from scipy.special import softmax
from sklearn import metrics as sk
from tensorflow_model_analysis.metrics import metric_specs, metric_types

from components.evaluator.evaluation_files import Evaluation, read_evaluation
from components.evaluator.verdict import missed_bounds
from local_run.summary import overall_metrics
from pipeline.eval_config import eval_config
from pipeline.evaluator_section import Evaluator
from tabular.metrics import tfma_metrics
from tabular.metrics.evaluated_model import EvaluatedModel
from tabular.metrics.metric_names import metric_name
from tests.tabular.metrics.distributions import DISTRIBUTIONS, drawn

pytestmark = pytest.mark.unit

PROBABILITIES = np.array([0.05, 0.2, 0.4, 0.8])


def section(**more: Any) -> Evaluator:
    return Evaluator(label="clicked", prediction="probability", **more)


def evaluated(
    frame: pd.DataFrame, wanted: Evaluator, folder: Path, classes: Sequence[str] = ()
) -> tuple[Evaluation, Any]:
    """What lineage reads of an evaluation, and TFMA's validation; there is no baseline."""
    config = eval_config(wanted, classes)
    config.model_specs[0].signature_name = ""  # the predictions are columns here
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for one in metric.per_slice_thresholds:
                one.threshold.ClearField("change_threshold")
    tfma.analyze_raw_data(frame, config, output_path=str(folder))
    found = read_evaluation(str(folder))
    assert found is not None
    return found, tfma.load_validation_result(str(folder))


def failures(validation: Any) -> set[tuple[str, str]]:
    """Slice and metric of each bound that was missed."""
    return {(one.slice, one.metric) for one in missed_bounds(validation)}


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
            "known": np.arange(count) % 2,
            "weight": random.integers(1, 4, count).astype(float),
        }
    )


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_auc_of_the_evaluator_is_exact(distribution: str, tmp_path: Path) -> None:
    labels, scores = drawn(distribution)
    keep = [*np.flatnonzero(labels == 1)[:300], *np.flatnonzero(labels == 0)[:900]]
    labels, scores = labels[keep], scores[keep]  # TFMA takes a millisecond for each
    frame = pd.DataFrame({"clicked": labels, "probability": scores.astype(np.float32)})
    found, _ = evaluated(frame, section(metrics=["auc", "auc_pr", "log_loss"]), tmp_path)
    assert found.overall is not None
    values = {name: metric.value for name, metric in found.overall.metrics.items()}
    exact = frame["probability"].to_numpy(float)
    assert values["auc"] == pytest.approx(sk.roc_auc_score(labels, exact), abs=1e-9)
    assert values["auc_pr"] == pytest.approx(sk.average_precision_score(labels, exact), abs=1e-9)
    assert values["log_loss"] == pytest.approx(sk.log_loss(labels, exact), abs=1e-9)
    assert values["positives"] == labels.sum()


def test_what_the_evaluator_measures(tmp_path: Path) -> None:
    frame = rows(2000)
    wanted = section(group="user_id", slices=[["device"]])
    evaluation, validation = evaluated(frame, wanted, tmp_path)
    metrics, intervals = overall_metrics(str(tmp_path))

    label, probability = frame["clicked"], frame["probability"]
    rates = [label[probability == p].mean() for p in PROBABILITIES]
    shares = [(probability == p).mean() for p in PROBABILITIES]
    groups = [g for _, g in frame.groupby("user_id") if g["clicked"].nunique() == 2]
    weights = [len(g) for g in groups]
    expected = {
        "auc": sk.roc_auc_score(label, probability),
        "grouped_auc": np.average(
            [sk.roc_auc_score(g["clicked"], g["probability"]) for g in groups], weights=weights
        ),
        "log_loss": -np.log(np.where(label, probability, 1 - probability)).mean(),
        "calibration": probability.mean() / label.mean(),
        "ece": np.dot(shares, np.abs(PROBABILITIES - rates)),
        "positives": label.sum(),
    }
    assert metrics == pytest.approx(expected, rel=1e-6)
    assert evaluation.overall is not None
    assert evaluation.overall.metrics["negatives"].value == 2000 - label.sum()
    assert intervals.keys() == expected.keys() - {"positives"}
    for name, (low, high) in intervals.items():
        assert low < metrics[name] < high
    assert [b.labels / b.rows for b in evaluation.calibration] == pytest.approx(rates)
    assert [b.predictions / b.rows for b in evaluation.calibration] == pytest.approx(PROBABILITIES)
    # A slice of one row has metrics where they mean anything, and stops nothing.
    slices = {one.name: one.metrics for one in evaluation.slices}
    assert slices.keys() == {"", "device=phone", "device=console"}
    assert slices["device=console"]["example_count"].value == 1
    assert "auc" not in slices["device=console"]
    assert failures(validation) == {("", "calibration")}


def test_a_weight_counts_an_example_several_times(tmp_path: Path) -> None:
    frame = rows(1500)
    found, _ = evaluated(frame, section(weight="weight"), tmp_path)
    assert found.overall is not None
    label, probability, weight = (frame[c] for c in ("clicked", "probability", "weight"))
    values = {name: metric.value for name, metric in found.overall.metrics.items()}
    assert values["auc"] == pytest.approx(
        sk.roc_auc_score(label, probability, sample_weight=weight)
    )
    assert values["log_loss"] == pytest.approx(
        sk.log_loss(label, probability, sample_weight=weight)
    )
    assert values["positives"] == label.sum()


def test_bounds_hold_where_they_are_set(tmp_path: Path) -> None:
    bounds = {
        "auc": [{"min": 0.5}, {"slice": {"known": 1}, "min": 0.99}],
        "calibration": {"max": 2},
        "precision_at_100": {"min": 0.1},
        "recall_above_0.3": {"min": 0.999},
        "ece": [{"slice": {"device": "fridge"}, "max": 0.5}],
    }
    wanted = section(thresholds=bounds, min_positives=400)
    _, validation = evaluated(rows(2000), wanted, tmp_path)
    assert failures(validation) == {
        ("known=1", "auc"),
        ("known=1", "positives"),
        ("", "recall_above_0.3"),
        ("device=fridge", ""),
    }


def test_a_slice_of_texts_that_look_like_numbers_is_found(tmp_path: Path) -> None:
    """As bytes, which is what TFX has."""
    frame = rows(300).assign(shop=[b"12", b"3.5", b"7"] * 100)
    bounds = {"log_loss": [{"slice": {"shop": "12"}, "max": 0}, {"slice": {"shop": "7"}, "max": 9}]}
    wanted = section(thresholds={**bounds, "calibration": None}, min_positives=5)
    _, validation = evaluated(frame, wanted, tmp_path)
    assert failures(validation) == {("shop=12", "log_loss")}


def test_weights_and_groups_go_together(tmp_path: Path) -> None:
    frame = rows(600)
    frame["weight"] *= np.arange(600) % 3  # some are 0
    wanted = section(
        weight="weight", group="user_id", thresholds={"grouped_auc": {"min": 1.0}}, min_positives=5
    )
    found, validation = evaluated(frame, wanted, tmp_path)
    assert found.overall is not None
    counting = frame[frame["weight"] > 0]
    groups = [g for _, g in counting.groupby("user_id") if g["clicked"].nunique() == 2]
    each = [
        sk.roc_auc_score(g["clicked"], g["probability"], sample_weight=g["weight"]) for g in groups
    ]
    weights = [g["weight"].sum() for g in groups]
    expected = np.average(each, weights=weights)
    assert found.overall.metrics["grouped_auc"].value == pytest.approx(expected)
    assert ("", "grouped_auc") in failures(validation)


def test_a_model_with_two_outputs_is_an_error() -> None:
    """TFMA would make two examples of each, and score another problem."""
    gather = tfma_metrics._Gather(EvaluatedModel(None, "", "", False), "binary")
    example = metric_types.StandardMetricInputs(
        label=np.array([1]), prediction=np.array([0.2, 0.8]), example_weight=np.array([1.0])
    )
    gathered = gather.add_input(gather.create_accumulator(), example)
    with pytest.raises(ValueError, match="each example must have one label and one score"):
        gather.compact(gathered)


@pytest.mark.parametrize("weight", [np.nan, -1.0, np.inf])
def test_a_wrong_weight_is_an_error(weight: float, tmp_path: Path) -> None:
    """TFMA counts an example without a weight once, which NaN is to it."""
    frame = rows(20)
    frame.loc[3, "weight"] = weight
    with pytest.raises(ValueError, match="weight"):
        evaluated(frame, section(weight="weight", group="user_id"), tmp_path)


def test_a_regression_is_measured(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    label = random.normal(50, 10, 1500)
    frame = pd.DataFrame({"clicked": label, "probability": label + random.normal(0, 5, 1500)})
    bounds = {"rmse": {"max": 1}}
    wanted = section(metrics=["rmse", "mae", "r2"], thresholds=bounds, min_examples=2000)
    found, validation = evaluated(frame, wanted, tmp_path)
    assert found.overall is not None
    values = found.overall.metrics
    assert values["rmse"].value == pytest.approx(5, rel=0.1)
    low, high = values["rmse"].low, values["rmse"].high
    assert low is not None
    assert high is not None
    assert low < values["rmse"].value < high
    assert values["r2"].value == pytest.approx(sk.r2_score(label, frame["probability"]))
    assert values["example_count"].value == 1500
    assert failures(validation) == {("", "rmse"), ("", "example_count")}


TOPICS = ("arts", "news", "sport")


def topics(count: int) -> pd.DataFrame:
    """Three classes of which one is rare, with weights, in two kinds of shops."""
    random = np.random.default_rng(5)
    scores = random.normal([1, -1, 0], size=(count, 3))
    true = softmax(scores, axis=1)
    return pd.DataFrame(
        {
            "clicked": (true.cumsum(axis=1) < random.random((count, 1))).sum(axis=1),
            "probability": [*softmax(1.5 * scores, axis=1)],
            "device": np.where(np.arange(count) % 3, "phone", "console"),
            "weight": random.integers(0, 4, count).astype(float),
        }
    )


def test_several_classes_are_measured(tmp_path: Path) -> None:
    """Metrics equal those of scikit-learn, and TFMA's confusion matrix is plotted."""
    frame = topics(1500)
    wanted = section(
        metrics=["log_loss", "accuracy", {"top_k_accuracy": 2}, "macro_auc", {"auc_of": "news"}],
        weight="weight",
        slices=[["device"]],
        thresholds={"accuracy": [{"min": 0.99}, {"slice": {"device": "phone"}, "min": 0.1}]},
        min_positives=10_000,
    )
    assert wanted.task == "multiclass"
    found, validation = evaluated(frame, wanted, tmp_path, TOPICS)
    assert found.overall is not None
    values = {name: metric.value for name, metric in found.overall.metrics.items()}
    label, weight = frame["clicked"], frame["weight"]
    scores = np.stack(frame["probability"].tolist())
    best = scores.argmax(axis=1)
    expected = {
        "log_loss": sk.log_loss(label, scores, sample_weight=weight),
        "accuracy": sk.accuracy_score(label, best, sample_weight=weight),
        "top_k_accuracy_2": sk.top_k_accuracy_score(label, scores, k=2, sample_weight=weight),
        "macro_auc": np.mean(
            [
                sk.roc_auc_score(label == one, scores[:, one], sample_weight=weight)
                for one in range(3)
            ]
        ),
        "auc_of_news": sk.roc_auc_score(label == 1, scores[:, 1], sample_weight=weight),
        "example_count": (weight > 0).sum(),
        "examples_of_rarest_class": ((label == 1) & (weight > 0)).sum(),
    }
    assert values == pytest.approx(expected, abs=1e-6)
    for name in wanted.metrics:
        low, high = found.overall.metrics[name].low, found.overall.metrics[name].high
        assert low is not None
        assert high is not None
        assert low < values[name] < high
    assert {one.name for one in found.slices} == {"", "device=phone", "device=console"}
    assert failures(validation) == {
        ("", "accuracy"),
        ("", "examples_of_rarest_class"),
        ("device=phone", "examples_of_rarest_class"),
    }
    assert found.confusion is not None
    assert found.confusion.classes == TOPICS
    matrix = sk.confusion_matrix(label, best, sample_weight=weight)
    assert np.array(found.confusion.rows) == pytest.approx(matrix)


def test_what_is_no_class_is_an_error(tmp_path: Path) -> None:
    frame = topics(20)
    wanted = section(metrics=["macro_auc"])
    frame.loc[3, "clicked"] = 3
    with pytest.raises(ValueError, match="a label must be a whole number from 0 to 2"):
        evaluated(frame, wanted, tmp_path, TOPICS)
    with pytest.raises(ValueError, match=r"each example must have one label and 4 scores .* 1 and"):
        evaluated(topics(20), wanted, tmp_path, (*TOPICS, "weather"))


def test_a_baseline_of_other_classes_has_no_value() -> None:
    """So that a model with one more class can still be compared with absolute bounds."""
    baseline = EvaluatedModel(None, "baseline", "", False)
    gather = tfma_metrics._Gather(baseline, "multiclass", 3)
    example = metric_types.StandardMetricInputs(
        label=np.array([3]),
        prediction={"baseline": np.array([0.2, 0.3, 0.2, 0.3])},
        example_weight=np.array([1.0]),
    )
    gathered = gather.add_input(gather.create_accumulator(), example)
    (counts,) = gather.extract_output(gathered).values()
    assert counts.examples == 0
    assert np.isnan(counts.value(metric_name("log_loss")))


def test_a_score_that_is_not_a_number_is_an_error(tmp_path: Path) -> None:
    frame = rows(20)
    frame.loc[3, "probability"] = np.inf
    with pytest.raises(ValueError, match="scores must be finite numbers"):
        evaluated(frame, section(), tmp_path)


def test_an_example_without_a_score_is_an_error(tmp_path: Path) -> None:
    frame = rows(20)
    frame.loc[3, "probability"] = np.nan  # to TFMA, a missing one
    with pytest.raises(ValueError, match="each example must have one label and one score"):
        evaluated(frame, section(), tmp_path)


def test_all_metrics_share_one_pass_over_the_examples() -> None:
    """Else each row is looked at once for each metric, which is the longest part."""
    config = eval_config(section(metrics=["auc", "ece", {"precision_at": 10}]))
    computations = metric_specs.to_computations([*config.metrics_specs], eval_config=config)
    names = [key.name for one in computations if hasattr(one, "combiner") for key in one.keys]
    assert set(names) == {"_scores"}
