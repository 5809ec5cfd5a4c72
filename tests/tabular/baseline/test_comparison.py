"""Trees learn what they may, deterministically, and are judged by scikit-learn's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from tabular.baseline.comparison import compare
from tabular.baseline.judging import judge
from tabular.baseline.result import Comparison
from tabular.baseline.trees import Rows, fit_trees
from tabular.errors import TrainingError
from tabular.feature_set import Categorical, FeatureSet, Numeric, Sequence
from tabular.metrics.metric_names import metric_name
from tests.tabular.baseline.raw_examples import Columns, schema_of, write_examples

pytestmark = pytest.mark.unit
FEATURES = FeatureSet(
    label="sold",
    keys=("id",),
    features=(Numeric("x"), Numeric("y"), Categorical("shop", vocabulary=50)),
)
WEIGHTED = FeatureSet("sold", FEATURES.features, keys=("id",), weight="cost")
SPLITS = {"train": 1500, "eval": 500, "test": 1000}
BINARY = [metric_name(name) for name in ("auc", "log_loss", "accuracy")]


def table(seed: int, rows: int, label: str = "binary") -> dict[str, list[Any]]:
    chance = np.random.default_rng(seed)
    x, y = chance.normal(size=(2, rows)).round(6)
    shop = chance.integers(0, 6, rows)
    odds = 2 * (x > 0) * np.sign(y) + (shop - 2.5) / 2
    if label == "binary":
        sold = (chance.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    elif label == "classes":
        sold = np.clip(np.round(odds + chance.normal(size=rows)), -1, 1).astype(int) + 1
    else:
        sold = (odds + chance.normal(size=rows)).astype(float)
    return {
        "id": sold.tolist(),  # a key that tells the label
        "x": x.tolist(),
        "y": y.tolist(),
        "shop": [f"s{one}".encode() for one in shop],
        "sold": sold.tolist(),
        "cost": chance.integers(1, 4, rows).astype(float).tolist(),
    }


def written(folder: Path, **tables: Columns) -> dict[str, list[str]]:
    return {
        split: [write_examples(folder / split / "0.gz", columns)]
        for split, columns in tables.items()
    }


def splits(label: str = "binary") -> dict[str, dict[str, list[Any]]]:
    return {split: table(n, rows, label) for n, (split, rows) in enumerate(SPLITS.items())}


def compared(folder: Path, features: FeatureSet = FEATURES, **more: Any) -> Comparison:
    given = more.pop("tables", None) or splits(more.pop("label", "binary"))
    files, schema = written(folder, **given), schema_of(given["train"])
    return compare(files, "test", features, schema, more.pop("metrics", BINARY), **more)


def test_trees_learn_and_are_the_same_in_every_run(tmp_path: Path) -> None:
    first, second = compared(tmp_path / "a"), compared(tmp_path / "b")
    assert first == second
    assert 0.7 < first.metrics["auc"] < 0.95  # a key would have made it 1
    low, high = first.intervals["auc"]
    assert low < first.metrics["auc"] < high
    assert (first.rows, first.learned_rows, first.judged_rows) == (1500, 1500, 1000)
    assert first.columns == ("x", "y", "shop")
    assert first.notes == ()
    assert Comparison.from_json(first.to_json()) == first


def test_the_weight_counts_in_training_and_in_the_metrics(tmp_path: Path) -> None:
    plain = compared(tmp_path / "a")
    weighted = compared(tmp_path / "b", WEIGHTED, judged_weight="cost")
    assert weighted.metrics["auc"] != plain.metrics["auc"]
    # Whole weights are repetitions.
    given = splits()
    repeated = {
        split: {
            name: [value for value, cost in zip(values, one["cost"], strict=True) for _ in
                   range(int(cost))]
            for name, values in one.items()
        }
        for split, one in given.items()
    }  # fmt: skip
    again = compared(tmp_path / "c", tables=repeated)
    assert again.metrics["auc"] == pytest.approx(weighted.metrics["auc"], abs=0.02)


def test_a_judged_weight_alone_does_not_change_the_trees(tmp_path: Path) -> None:
    plain = compared(tmp_path / "a")
    judged = compared(tmp_path / "b", judged_weight="cost")
    assert judged.iterations == plain.iterations
    assert judged.metrics != plain.metrics


def test_several_classes_of_which_one_is_missing_in_eval(tmp_path: Path) -> None:
    features = FeatureSet(
        "sold", FEATURES.features, ("id",), classes=("a", "b", "c"), task="multiclass"
    )
    given = splits("classes")
    kept = [n for n, label in enumerate(given["eval"]["sold"]) if label != 2]
    given["eval"] = {name: [v[n] for n in kept] for name, v in given["eval"].items()}
    names = [metric_name(name) for name in ("log_loss", "macro_auc", "auc_of_c")]
    found = compared(tmp_path, features, tables=given, metrics=names)
    assert found.metrics["macro_auc"] > 0.7
    assert {*found.metrics} == {"log_loss", "macro_auc", "auc_of_c"}


def test_a_number(tmp_path: Path) -> None:
    features = FeatureSet("sold", FEATURES.features, ("id",), task="regression")
    names = [metric_name(name) for name in ("rmse", "r2")]
    found = compared(tmp_path, features, label="number", metrics=names)
    assert 0.4 < found.metrics["r2"] < 0.9
    assert found.intervals.keys() == {"rmse", "r2"}


def test_metrics_are_those_of_scikit_learn_in_any_number_of_batches() -> None:
    chance = np.random.default_rng(1)
    labels, weights = chance.integers(0, 2, 5000), chance.integers(0, 3, 5000).astype(float)
    scores = np.clip(labels * 0.2 + chance.random(5000) * 0.8, 0, 1)
    parts = zip(*(np.array_split(one, 100) for one in (labels, scores, weights)), strict=True)
    values, intervals, rows = judge(parts, "binary", BINARY, ())
    assert values == pytest.approx(
        {
            "auc": sk.roc_auc_score(labels, scores, sample_weight=weights),
            "log_loss": sk.log_loss(labels, scores, sample_weight=weights),
            "accuracy": sk.accuracy_score(labels, scores >= 0.5, sample_weight=weights),
        },
        abs=1e-9,
    )
    assert intervals.keys() == values.keys()
    assert rows == (weights > 0).sum()


def test_an_undefined_metric_is_left_out() -> None:
    batch = (np.zeros(50), np.full(50, 0.2), np.ones(50))
    values, intervals, _ = judge([batch], "binary", BINARY, ())
    assert values.keys() == {"log_loss", "accuracy"}
    assert "auc" not in intervals


def test_the_number_of_iterations_has_the_lowest_loss_on_eval() -> None:
    chance = np.random.default_rng(2)
    matrix = chance.normal(size=(900, 3))
    labels = (matrix[:, 0] + chance.normal(size=900) > 0).astype(float)
    learned = Rows(matrix[:600], labels[:600], np.ones(600))
    evaluation = Rows(matrix[600:], labels[600:], np.ones(300))
    with threadpool_limits(1, user_api="openmp"):
        trees = fit_trees(learned, evaluation, [False] * 3, "binary", 2)
        plain = HistGradientBoostingClassifier(
            max_iter=trees.iterations + 25, early_stopping=False, random_state=0
        ).fit(learned.matrix, learned.labels)
        stages = [*plain.staged_predict_proba(evaluation.matrix)]
        losses = [sk.log_loss(evaluation.labels, found) for found in stages]
        assert np.argmin(losses) + 1 == trees.iterations
        expected = stages[trees.iterations - 1][:, 1]
        assert np.array_equal(trees.predict(evaluation.matrix), expected)


def test_a_column_without_any_value_changes_nothing() -> None:
    chance = np.random.default_rng(3)
    plain = chance.normal(size=(400, 1))
    labels, weights = (plain[:, 0] > 0).astype(float), np.ones(400)
    nothing = np.full((400, 2), np.nan)
    found = []
    with threadpool_limits(1, user_api="openmp"):
        for matrix in (plain, np.hstack([plain, nothing])):
            rows = Rows(matrix, labels, weights)
            is_category = [False, False, True][: matrix.shape[1]]
            found.append(fit_trees(rows, rows, is_category, "binary", 2).predict(matrix))
    assert np.array_equal(found[0], found[1])


def test_too_many_rows_are_sampled_and_the_result_says_so(tmp_path: Path) -> None:
    found = compared(tmp_path, most_rows=600)
    assert found.rows == 1500
    assert 300 <= found.learned_rows <= 600
    assert found.notes == (
        f"{found.learned_rows} of 1,500 rows of split train were used, a sample by hash",
    )
    assert found.metrics["auc"] > 0.6


def test_sequences_that_are_not_read_are_named(tmp_path: Path) -> None:
    past = Sequence({"past_shops": "shop"}, length=3)
    features = FeatureSet("sold", (*FEATURES.features, past), ("id",))
    given = splits()
    for one in given.values():
        one["past_shops"] = [[shop] for shop in one["shop"]]
    found = compared(tmp_path, features, tables=given)
    assert found.notes == ("sequences are not read: past_shops",)


def test_an_empty_split_is_an_error_that_names_it(tmp_path: Path) -> None:
    given = splits()
    given["eval"] = {name: [] for name in given["eval"]}
    with pytest.raises(TrainingError, match="split eval has no examples"):
        compared(tmp_path, tables=given)


def test_a_constant_label_is_the_error_of_the_network(tmp_path: Path) -> None:
    given = splits()
    given["train"]["sold"] = [0] * SPLITS["train"]
    with pytest.raises(TrainingError, match="sold"):
        compared(tmp_path, tables=given)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"metrics": {"auc": "high"}}'])
def test_a_damaged_result_is_none(text: str) -> None:
    assert Comparison.from_json(text) is None
