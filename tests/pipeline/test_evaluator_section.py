"""The section `evaluator`: metrics and bounds by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from base.errors import first_problem
from pipeline.eval_config import eval_config
from pipeline.evaluator_section import Evaluator
from tabular.metrics.metric_names import metric_name

pytestmark = pytest.mark.unit


def section(**more: Any) -> Evaluator:
    return Evaluator(label="clicked", prediction="probability", **more)


def problem(**more: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        section(**more)
    return first_problem(raised.value)


def test_a_decision_is_no_score() -> None:
    with pytest.raises(ValidationError) as raised:
        Evaluator(label="clicked", prediction="decision")
    assert "the output that trainer.decision adds beside a score" in first_problem(raised.value)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("auc", "auc"),
        ({"precision_at": 100}, "precision_at_100"),
        ({"recall_at": 0.01}, "recall_at_0.01"),
        ("recall_at_500", "recall_at_500"),
        ("precision", "precision"),
        ({"precision": 0.5}, "precision"),
        ({"recall": 0.3}, "recall_above_0.3"),
        ("accuracy_above_0.2", "accuracy_above_0.2"),
        ("r2", "r2"),
        ({"recall_at": 1234567}, "recall_at_1234567"),
        ({"precision": 0.12345678}, "precision_above_0.12345678"),
        ({"recall_at": 1e-5}, "recall_at_1e-05"),
        ({"top_k_accuracy": 3}, "top_k_accuracy_3"),
        ({"auc_of": "not a_at_5 word"}, "auc_of_not a_at_5 word"),
        ({"auc_of": 2024}, "auc_of_2024"),
        ({"ndcg": {"group": "session_id", "at": 10}}, "ndcg_at_10_by_session_id"),
        ({"map": {"group": "a_by_b"}}, "map_by_a_by_b"),
    ],
)
def test_a_metric_has_one_name_however_it_is_written(entry: Any, name: str) -> None:
    assert str(metric_name(entry)) == name
    assert metric_name(name) == metric_name(entry)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"metrics": ["acu"]},
            "'acu' is not a metric. Did you mean auc? Known metrics: auc",
        ),
        ({"metrics": ["precision_at"]}, "precision_at needs a number of examples"),
        ({"metrics": [{"precision_at": "x"}]}, "precision_at: expected a number. Received: x"),
        ({"metrics": [{"recall_at": 2.5}]}, "expected a whole number of examples, or a share"),
        ({"metrics": [{"recall_at": 0}]}, "Received: 0"),
        ({"metrics": [{"recall": 3}]}, "expected a score between 0 and 1. Received: 3"),
        ({"metrics": [{"auc": 3}]}, "auc takes no number. Received: 3"),
        ({"metrics": "auc"}, "expected a list of metrics"),
        ({"metrics": []}, "expected a list of metrics"),
        (
            {"metrics": [{"ndcg": 10}]},
            "ndcg needs the feature that defines a list, such as {ndcg:",
        ),
        ({"metrics": [{"map": {"at": 10}}]}, "map needs the feature that defines a list"),
        ({"metrics": [{"map": {"group": "q", "k": 10}}]}, "Received: {'group': 'q', 'k': 10}"),
        (
            {"metrics": [{"ndcg": {"group": "q", "at": 0}}]},
            "ndcg: expected a whole number of places in `at`. Received: 0",
        ),
        (
            {"thresholds": {"map_by_q": [{"slice": {"a": "b"}, "min": 1}]}},
            "map_by_q has bounds on all examples only",
        ),
        ({"metrics": [{"top_k_accuracy": 1.5}]}, "expected a whole number of classes"),
        ({"metrics": ["top_k_accuracy"]}, "top_k_accuracy needs a number of classes"),
        ({"metrics": ["auc_of"]}, "auc_of needs the name of a class, such as {auc_of: NAME}"),
        ({"metrics": ["macro_auc", {"accuracy": 0.3}]}, "accuracy_above_0.3 (binary)"),
        ({"min_examples": 50}, "min_examples: of a binary task use min_positives"),
        ({"metrics": ["macro_auc"], "group": "u"}, "an AUC within groups is a metric of a binary"),
        ({"metrics": [3]}, "expected a metric's name, or one key with a number. Received: 3"),
        (
            {"metrics": ["auc", "rmse"]},
            "expected metrics of one task. Received: auc (binary), rmse (reg",
        ),
        ({"metrics": ["grouped_auc"]}, "grouped_auc is there as soon as `group` names a feature"),
        ({"thresholds": {"acu": {"min": 1}}}, "'acu' is not a metric. Did you mean auc?"),
        ({"thresholds": {"auc": {}}}, "give min, max, max_worse or max_worse_percent"),
        ({"thresholds": {"auc": [{"slice": {"a": "b"}}]}}, "give min, max, max_worse"),
        (
            {"thresholds": {"auc": {"slice": {"a": "b"}, "min": 1}}},
            "auc: a bound on a slice belongs into a list",
        ),
        ({"thresholds": {"auc": [{"slice": {"a": False}, "min": 1}]}}, "slice.a"),
        (
            {"thresholds": {"auc": [{"slice": {"a": "007"}, "min": 1}]}},
            "a: TFMA takes '007' for the number 7",
        ),
        (
            {"thresholds": {"precision": {"min": 0.9}, "precision_above_0.5": {"min": 0.1}}},
            "precision is there twice, also as precision_above_0.5",
        ),
        (
            {"group": "u", "thresholds": {"grouped_auc": [{"slice": {"a": "b"}, "min": 1}]}},
            "grouped_auc has bounds on all examples only",
        ),
        ({"metrics": [{100: 0.3}]}, "a metric's name must be a text. Received: 100"),
        ({"thresholds": {"auc": {"min": 1, "max": 0}}}, "min must not be above max"),
        ({"thresholds": {"auc": {"mim": 1}}}, "mim"),
        ({"thresholds": {"rmse": {"max": 1}}}, "rmse is a metric of a regression task"),
        ({"thresholds": {"grouped_auc": {"min": 0.5}}}, "grouped_auc needs `group`"),
        ({"thresholds": {"calibration": {"max_worse": 1}}}, "calibration is best at 1"),
        ({"thresholds": {"decision_share": {"max_worse": 1}}}, "decision_share has no best value"),
        ({"thresholds": {"calibration_at_0.01": {"max_worse": 1}}}, "is best at 1"),
        ({"metrics": ["rmse"]}, "a regression needs at least one min or max"),
        (
            {"metrics": ["rmse"], "thresholds": {"rmse": {"max_worse": 1}}},
            "nothing would judge the first model",
        ),
        (
            {"metrics": ["mae"], "thresholds": {"mae": {"max": 1}}, "group": "user"},
            "group: an AUC within groups is a metric of a binary task",
        ),
        (
            {"metrics": ["mae"], "thresholds": {"mae": {"max": 1}}, "min_positives": 5},
            "min_positives: a regression has none; use min_examples",
        ),
        (
            {"metrics": ["r2"], "thresholds": {"r2": {"max_worse_percent": 1}}},
            "r2 may be negative, of which a percentage means nothing",
        ),
        ({"min_auc": 0.7}, "thresholds: {auc: {min: 0.7}}"),
        ({"max_auc_loss": 0.01}, "thresholds: {auc: {max_worse: 0.01}}"),
        ({"calibration": [0.5, 2]}, "thresholds: {calibration: {min: LOW, max: HIGH}}"),
    ],
)
def test_a_wrong_name_or_bound_is_one_line_that_says_what_is_right(more: Any, said: str) -> None:
    assert said in problem(**more)


def bounds(wanted: Evaluator) -> dict[str, dict[str, float]]:
    """Metric -> all that holds for all examples."""
    found: dict[str, dict[str, float]] = {}
    for name in wanted.judged:
        for bound in wanted.bounds(name):
            if not bound.slice:
                found.setdefault(str(name), {}).update(bound.model_dump(exclude_none=True))
    return {name: {k: v for k, v in one.items() if k != "slice"} for name, one in found.items()}


AUC, CALIBRATION = {"min": 0.5, "max_worse": 0.005}, {"min": 0.8, "max": 1.25}


def test_what_is_left_out_of_the_bounds_has_its_default() -> None:
    assert bounds(section()) == {"auc": AUC, "calibration": CALIBRATION}
    assert bounds(section(metrics=["auc_pr"])) == {"auc": AUC, "calibration": CALIBRATION}
    higher = section(thresholds={"auc": {"min": 0.7}})
    assert bounds(higher)["auc"] == {"min": 0.7, "max_worse": 0.005}
    lone = section(thresholds={"auc": {"max_worse": None}})
    assert bounds(lone)["auc"] == {"min": 0.5}
    phones = section(thresholds={"auc": [{"slice": {"device": "phone"}, "min": 0.6}]})
    assert bounds(phones)["auc"] == AUC
    assert bounds(section(thresholds={"auc": None})) == {"calibration": CALIBRATION}
    rmse = section(metrics=["rmse"], thresholds={"rmse": {"max": 3}})
    assert bounds(rmse) == {"rmse": {"max": 3}}


def test_a_metric_that_is_judged_is_measured() -> None:
    wanted = section(metrics=["auc"], thresholds={"recall_at_0.01": {"min": 0.2}})
    assert [str(name) for name in wanted.measured] == ["auc", "calibration", "recall_at_0.01"]


def test_bounds_of_slices_and_of_the_baseline_reach_tfma() -> None:
    wanted = section(
        weight="weight",
        slices=[["device"]],
        thresholds={
            "auc": [{"min": 0.6, "max_worse": 0.01}, {"slice": {"device": "phone"}, "min": 0.5}],
            "log_loss": [{"slice": {"country": "de"}, "max_worse_percent": 2}],
        },
        min_positives=7,
    )
    config = eval_config(wanted)
    slices = [[*one.feature_keys] for one in config.slicing_specs]
    assert slices == [[], ["device"], ["country"]]
    (spec,) = config.metrics_specs
    assert config.model_specs[0].example_weight_key == "weight"
    assert spec.example_weights.weighted
    found = {}
    for metric in spec.metrics:
        name = metric.config.split('"name": "')[-1].split('"')[0]
        for one in metric.per_slice_thresholds:
            (where,) = one.slicing_specs
            found[name, str(dict(where.feature_values))] = one.threshold
    auc = found["auc", "{}"]
    assert auc.value_threshold.lower_bound.value == 0.6
    assert auc.change_threshold.absolute.value == -0.01
    assert found["auc", "{'device': 'phone'}"].value_threshold.lower_bound.value == 0.5
    log_loss = found["log_loss", "{'country': 'de'}"].change_threshold
    assert log_loss.relative.value == pytest.approx(0.02)
    assert (
        log_loss.direction
        == log_loss.DESCRIPTOR.fields_by_name["direction"]
        .enum_type.values_by_name["LOWER_IS_BETTER"]
        .number
    )
    for where in ("{}", "{'device': 'phone'}", "{'country': 'de'}"):
        for label in ("positives", "negatives"):
            assert found[label, where].value_threshold.lower_bound.value == 7


def test_the_task_is_that_of_all_metrics_or_of_the_prediction() -> None:
    assert section().task == "binary"
    assert section(metrics=["log_loss", "accuracy"]).task == "binary"
    several = Evaluator(label="topic", prediction="probabilities", metrics=["log_loss", "accuracy"])
    assert several.task == "multiclass"
    assert bounds(several) == {"macro_auc": AUC}
    default = Evaluator(label="topic", prediction="probabilities")
    assert default.metrics == ("log_loss", "accuracy", "macro_auc")
    grades = {"ndcg": {"group": "q", "at": 3}}
    rated = section(metrics=["rmse", grades], thresholds={"ndcg_at_3_by_q": {"min": 0.1}})
    assert rated.task == "regression"


def test_metrics_of_lists_are_computed_by_group() -> None:
    lists = [{"ndcg": {"group": "query", "at": 10}}, {"map": {"group": "user"}}]
    wanted = section(
        metrics=["auc", *lists], group="user", thresholds={"map_at_3_by_query": {"min": 0.1}}
    )
    assert {group: [*map(str, names)] for group, names in wanted.grouped.items()} == {
        "user": ["grouped_auc", "map_by_user"],
        "query": ["ndcg_at_10_by_query", "map_at_3_by_query"],
    }
    assert [*map(str, wanted.measured)] == ["auc", "calibration"]
    specs = eval_config(wanted).metrics_specs
    assert [spec.query_key for spec in specs] == ["", "user", "query"]
