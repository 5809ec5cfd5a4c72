"""The component on files: its artifact, its cache key, and that nothing waits for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tfx.types import artifact_utils, channel_utils, standard_artifacts

import components
from components.tree_baseline.artifacts import TreeComparison
from components.tree_baseline.component import TreeBaseline
from components.tree_baseline.executor import TreeBaselineExecutor
from components.tree_baseline.result_files import COMPARISON, read_comparison
from tabular.feature_set import Categorical, FeatureSet, Numeric
from tests.tabular.baseline.raw_examples import schema_of, write_examples

FEATURES = FeatureSet(
    label="late", keys=("id",), features=(Numeric("km"), Categorical("city", vocabulary=9))
)
SPLITS = ("train", "eval", "test")


def inputs(folder: Path, rows: int = 300) -> dict[str, list[Any]]:
    """Examples and their schema, in files; trips of more than 50 km are late."""
    columns: dict[str, list[Any]] = {
        "id": [*range(rows)],
        "km": [float(n * 37 % 101) for n in range(rows)],
        "city": [b"oslo" if n % 3 else b"rome" for n in range(rows)],
    }
    columns["late"] = [int(km > 50) for km in columns["km"]]
    for split in SPLITS:
        write_examples(folder / "examples" / f"Split-{split}" / "part.gz", columns)
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri = str(folder / "examples")
    examples.split_names = artifact_utils.encode_split_names([*SPLITS])
    schema.uri = str(folder / "schema")
    (folder / "schema").mkdir()
    text = text_format.MessageToString(schema_of(columns))
    (folder / "schema" / "schema.pbtxt").write_text(text, "utf-8")
    return {"examples": [examples], "schema": [schema]}


def component(given: dict[str, list[Any]], **changes: Any) -> TreeBaseline:
    settings = {"metrics": ["auc", "log_loss"], "judged": "test", **changes}
    channels = {name: channel_utils.as_channel(found) for name, found in given.items()}
    features = settings.pop("features", FEATURES)
    return TreeBaseline(channels["examples"], channels["schema"], features, **settings)


@pytest.mark.component
def test_the_artifact_has_the_metrics_of_the_judged_split(tmp_path: Path) -> None:
    given = inputs(tmp_path)
    output = TreeComparison()
    output.uri = str(tmp_path / "out")
    made = component(given, not_applied=["class_weights", "grouped_auc"])
    TreeBaselineExecutor().Do(given, {"comparison": [output]}, made.exec_properties)
    found = read_comparison(output.uri)
    assert found is not None
    assert found.metrics["auc"] == 1
    assert (found.split, found.rows, found.judged_rows) == ("test", 300, 300)
    assert found.notes == ("not applied to the trees: class_weights, grouped_auc",)
    assert output.get_float_custom_property("metric_auc") == 1
    assert output.get_int_custom_property("rows") == 300
    (Path(output.uri) / COMPARISON).write_text("cut shor", "utf-8")
    assert read_comparison(output.uri) is None


@pytest.mark.component
def test_what_cannot_be_learned_is_a_note_and_no_failed_run(tmp_path: Path) -> None:
    """The model is pushed by then, and a run that failed would be repeated."""
    given = inputs(tmp_path, rows=20)
    (tmp_path / "examples" / "Split-eval" / "part.gz").unlink()
    output = TreeComparison()
    output.uri = str(tmp_path / "out")
    TreeBaselineExecutor().Do(given, {"comparison": [output]}, component(given).exec_properties)
    found = read_comparison(output.uri)
    assert found is not None
    assert found.metrics == {}
    assert found.notes[0].startswith("no trees: split eval has no examples")


@pytest.mark.unit
def test_the_cache_key_has_all_that_changes_the_result(tmp_path: Path) -> None:
    given = inputs(tmp_path, rows=3)
    properties = component(given).exec_properties
    assert properties == component(given).exec_properties
    assert len(properties["code_sha256"]) == 64
    assert FeatureSet.from_json(json.loads(properties["features"])) == FEATURES
    for change in (
        {"metrics": ["auc"]},
        {"judged": "eval"},
        {"weight": "km"},
        {"features": FeatureSet("late", FEATURES.features[:1], ("id",))},
    ):
        assert component(given, **change).exec_properties != properties


@pytest.mark.unit
def test_kubeflow_can_import_the_artifact_type() -> None:
    assert getattr(components, "TreeComparison") is TreeComparison  # noqa: B009 - by its name
    assert TreeComparison.TYPE_NAME == "components.TreeComparison"


@pytest.mark.unit
def test_a_result_on_another_machine_is_none() -> None:
    assert read_comparison("s3://bucket/comparison/1") is None
    assert read_comparison("") is None
