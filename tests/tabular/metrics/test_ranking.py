"""NDCG and MAP of lists: scikit-learn's values, ties, and lists with nothing to rank."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from components.evaluator.evaluation_files import read_evaluation
from pipeline.eval_config import eval_config
from pipeline.evaluator_section import Evaluator
from tabular.metrics.grouped import value_of_group
from tabular.metrics.metric_names import metric_name
from tabular.metrics.ranking import average_precision, ndcg

pytestmark = pytest.mark.unit

places = st.integers(1, 8) | st.none()
graded = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=2, max_size=12)
few = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=6)


@given(graded, places)
def test_ndcg_is_that_of_scikit_learn_with_ties(
    rows: list[tuple[int, int]], at: int | None
) -> None:
    gains, scores = np.array(rows, float).T
    found = ndcg(gains, scores, at)
    if not gains.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sk.ndcg_score([gains], [scores], k=at))


@given(few, places)
def test_average_precision_of_ties_is_the_mean_over_their_orders(
    rows: list[tuple[int, int]], at: int | None
) -> None:
    labels, scores = np.array(rows, float).T
    if not labels.any():
        assert math.isnan(average_precision(labels, scores, at))
        return
    most = len(labels) if at is None else at
    each = []
    for order in itertools.permutations(range(len(labels))):
        if (np.diff(scores[list(order)]) <= 0).all():
            ranked = labels[list(order)][:most]
            precisions = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
            each.append((precisions * ranked).sum() / min(labels.sum(), most))
    assert average_precision(labels, scores, at) == pytest.approx(np.mean(each))


def test_average_precision_without_ties_is_that_of_scikit_learn() -> None:
    chance = np.random.default_rng(1)
    labels, scores = (chance.random(200) < 0.2).astype(float), chance.random(200)
    assert average_precision(labels, scores) == pytest.approx(
        sk.average_precision_score(labels, scores)
    )


@pytest.mark.parametrize("metric", [ndcg, average_precision])
def test_lists_with_nothing_to_rank_have_no_value(metric) -> None:
    assert math.isnan(metric(np.array([1.0]), np.array([0.3]), 10))  # a list of one
    assert math.isnan(metric(np.zeros(3), np.array([0.1, 0.2, 0.3]), 10))  # without a positive
    assert math.isnan(metric(np.empty(0), np.empty(0), 10))
    assert metric(np.ones(3), np.array([0.1, 0.2, 0.3]), 10) == pytest.approx(1)  # any order
    constant = metric(np.array([1.0, 0, 0, 0]), np.full(4, 0.5), None)
    backwards = metric(np.array([0.0, 0, 0, 1]), np.full(4, 0.5), None)
    assert constant == pytest.approx(backwards)  # the order of the rows means nothing


def test_labels_that_are_no_gains_are_an_error() -> None:
    scores = np.array([0.1, 0.2])
    with pytest.raises(ValueError, match="ndcg needs labels of 0 or more, which are gains"):
        ndcg(np.array([-1.0, 1]), scores)
    with pytest.raises(ValueError, match=r"map needs labels of 0 and 1\. Received: 2"):
        average_precision(np.array([0.0, 2]), scores)


def test_examples_of_weight_0_are_in_no_list() -> None:
    name = metric_name({"ndcg": {"group": "q"}})
    labels, scores = np.array([1, 0, 1]), np.array([0.1, 0.5, 0.9])
    found, weight = value_of_group(name, labels, scores, np.array([2.0, 4.0, 0.0]))
    assert found == pytest.approx(1 / math.log2(3))
    assert weight == 3
    assert math.isnan(value_of_group(name, labels, scores, np.zeros(3))[0])
    with pytest.raises(ValueError, match="a weight must be 0 or more"):
        value_of_group(name, labels, scores, np.array([1, -1, 1]))


def lists(ties: bool) -> pd.DataFrame:
    """Searches with 1 to 12 results, a tenth of them clicked; a weight per search."""
    chance = np.random.default_rng(3)
    sizes = chance.integers(1, 13, 300)
    query = np.repeat(np.arange(300), sizes)
    scores = chance.random(len(query))
    clicked = (chance.random(len(query)) < 0.2 * scores).astype(int)
    return pd.DataFrame(
        {
            "clicked": clicked,
            "probability": np.round(scores, 1) if ties else scores,
            "query": [f"q{number}" for number in query],
            "weight": chance.integers(1, 4, 300)[query].astype(float),
        }
    )


@pytest.mark.parametrize("ties", [False, True])
def test_the_evaluator_averages_over_lists(ties: bool, tmp_path: Path) -> None:
    """Without ties, TFMA's own NDCG agrees on lists of two examples or more."""
    frame = lists(ties)
    by_query = [{"ndcg": {"group": "query", "at": 5}}, {"map": {"group": "query"}}]
    wanted = Evaluator(
        label="clicked",
        prediction="probability",
        weight="weight",
        metrics=["auc", *by_query],
        thresholds={"ndcg_at_5_by_query": {"min": 0.99}, "calibration": None},
    )
    groups = [g for _, g in frame.groupby("query") if len(g) > 1 and g["clicked"].any()]
    assert len(groups) > 50
    weights = [g["weight"].iloc[0] for g in groups]
    each = [sk.ndcg_score([g["clicked"]], [g["probability"]], k=5) for g in groups]
    expected = np.average(each, weights=weights)

    config = eval_config(wanted)
    config.model_specs[0].signature_name = ""  # the predictions are columns here
    for spec in config.metrics_specs:
        for metric in spec.metrics:
            for one in metric.per_slice_thresholds:
                one.threshold.ClearField("change_threshold")
    spec = config.metrics_specs.add(query_key="query")
    spec.example_weights.weighted = True
    options = '{"gain_key": "clicked", "top_k_list": [5], "name": "tfma_ndcg"}'
    spec.metrics.add(class_name="NDCG", config=options)
    longer = frame[frame.groupby("query")["query"].transform("size") > 1]
    tfma.analyze_raw_data(longer, config, output_path=str(tmp_path / "longer"))
    found = read_evaluation(str(tmp_path / "longer"))
    assert found is not None
    assert found.overall is not None
    metrics = found.overall.metrics
    assert metrics["ndcg_at_5_by_query"].value == pytest.approx(expected)
    low, high = metrics["ndcg_at_5_by_query"].low, metrics["ndcg_at_5_by_query"].high
    assert low is not None
    assert high is not None
    assert low < expected < high
    agrees = metrics["tfma_ndcg"].value == pytest.approx(expected)
    assert agrees != ties

    del config.metrics_specs[-1]
    tfma.analyze_raw_data(frame, config, output_path=str(tmp_path / "all"))
    every = read_evaluation(str(tmp_path / "all"))
    assert every is not None
    assert every.overall is not None
    for name in ("ndcg_at_5_by_query", "map_by_query"):
        assert every.overall.metrics[name].value == pytest.approx(metrics[name].value)
    validation = tfma.load_validation_result(str(tmp_path / "all"))
    (failed,) = validation.metric_validations_per_slice[0].failures
    assert failed.metric_key.name == "ndcg_at_5_by_query"
