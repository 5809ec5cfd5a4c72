"""The Evaluator on a model whose score is one of the features, with a baseline and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from sklearn import metrics
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.evaluator.component import Evaluator
from components.evaluator.evaluation_files import Slice, Verdict, read_evaluation, read_verdict
from metadata.reader import MetadataReader
from pipeline.beam_arguments import ONE_PROCESS
from pipeline.eval_config import eval_config
from pipeline.evaluator_section import Evaluator as Section
from tabular.decision_rule import Costs
from tabular.metrics import extractors

pytestmark = pytest.mark.component

ROWS = 1_500
KINDS = {"clicked": "INT", "score": "FLOAT", "worse": "FLOAT", "copy": "INT", "device": "BYTES"}


THRESHOLD = np.float32(0.1)
COSTS = Costs(review=2, missed=30)
DECIDED = ["auc", "decision_precision", "decision_recall", "decision_share", "decision_cost"]


class _Model(tf.Module):
    """A score that is a feature of the example; only the better one is beside a decision."""

    def __init__(self, feature: str):
        super().__init__()
        self.feature = feature

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {self.feature: tf.io.FixedLenFeature([1], tf.float32)}
        score = tf.io.parse_example(examples, spec)[self.feature]
        if self.feature != "score":
            return {"probability": score}
        return {"probability": score, "decision": tf.cast(score >= THRESHOLD, tf.int64)}


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(2)
    score = (10 ** (-4 * chance.random(ROWS))).astype(np.float32)
    clicked = (chance.random(ROWS) < score).astype(int)
    return {
        "clicked": clicked,
        "score": score,
        "worse": np.clip(score * np.exp(chance.normal(0, 1, ROWS)), 0, 1).astype(np.float32),
        "copy": np.where(clicked == 1, 7, chance.choice([3, 9], ROWS)),
        "device": chance.choice([b"phone", b"tablet"], ROWS),
    }


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, np.ndarray]) -> Path:
    """Examples, a schema and two models."""
    folder = tmp_path_factory.mktemp("inputs")
    schema = schema_pb2.Schema()
    for name, kind in KINDS.items():
        feature = schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    (folder / "schema").mkdir()
    (folder / "schema/schema.pbtxt").write_text(text_format.MessageToString(schema))
    (folder / "examples/Split-test").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "examples/Split-test/0.gz"), "GZIP") as writer:
        for row in range(ROWS):
            features = {name: _feature(values[row]) for name, values in columns.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    for feature in ("score", "worse"):
        model = _Model(feature)
        path = folder / feature / "Format-Serving"
        tf.saved_model.save(model, str(path), signatures={"serving_default": model.serve})
    return folder


def _feature(value: Any) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, np.floating):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


Evaluate = Callable[..., tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module")
def evaluate(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    def run(model: str, baseline: str | None = None, **section: Any) -> tuple[Path, dict[str, Any]]:
        """The evaluation's folder, and the properties of the blessing."""
        wanted = Section(label="clicked", prediction="probability", **section)
        root = tmp_path_factory.mktemp("run")
        kinds = {"examples": standard_artifacts.Examples, "schema": standard_artifacts.Schema}
        kinds |= {name: standard_artifacts.Model for name in (model, baseline) if name}
        imported = {
            name: Importer(
                source_uri=str(inputs / name),
                artifact_type=kind,
                properties={"split_names": '["test"]'} if name == "examples" else None,
            ).with_id(name)
            for name, kind in kinds.items()
        }
        given = {name: one.outputs["result"] for name, one in imported.items()}
        evaluator = Evaluator(
            examples=given["examples"],
            schema=given["schema"],
            model=given[model],
            baseline_model=given[baseline] if baseline else None,
            eval_config=eval_config(wanted, costs=COSTS),
            example_splits=["test"],
            module_path=extractors.__name__,
            max_feature_auc=wanted.max_feature_auc,
        )
        store = metadata.sqlite_metadata_connection_config(str(root / "mlmd"))
        LocalDagRunner().run(
            Pipeline(
                pipeline_name="evaluation",
                pipeline_root=str(root),
                components=[*imported.values(), evaluator],
                metadata_connection_config=store,
                beam_pipeline_args=[*ONE_PROCESS],
            )
        )
        (folder,) = (root / "Evaluator/evaluation").iterdir()
        artifacts = MetadataReader.from_connection_config(store).artifacts
        (blessing,) = [a for a in artifacts(range(1, 12)).values() if a.type == "ModelBlessing"]
        return folder, dict(blessing.properties)

    return run


def test_a_good_model_is_blessed_and_a_feature_that_tells_the_label_is_reported(
    evaluate: Evaluate, columns: dict[str, np.ndarray]
) -> None:
    folder, blessing = evaluate(
        "score",
        "worse",
        slices=[["device"]],
        metrics=DECIDED,
        thresholds={"calibration": None, "decision_precision": {"min": 0.1}},
    )
    assert blessing["blessed"] == 1
    verdict = read_verdict(str(folder))
    assert verdict.blessed is True
    assert verdict.reasons == ()
    assert [line.split(" alone")[0] for line in verdict.telling] == ["feature 'copy'"]
    evaluation = read_evaluation(str(folder))
    assert evaluation is not None
    overall, *slices = evaluation.slices
    for side, name in ((overall.metrics, "score"), (overall.baseline, "worse")):
        exact = metrics.roc_auc_score(columns["clicked"], columns[name])
        assert side["auc"].value == pytest.approx(exact, abs=1e-6)
    for one in slices:
        chosen = columns["device"] == one.name.removeprefix("device=").encode()
        exact = metrics.roc_auc_score(columns["clicked"][chosen], columns["score"][chosen])
        assert one.metrics["auc"].value == pytest.approx(exact, abs=1e-6)
    check_decisions(overall, columns, np.full(ROWS, True))
    for one in slices:
        chosen = columns["device"] == one.name.removeprefix("device=").encode()
        check_decisions(one, columns, chosen)


def check_decisions(found: Slice, columns: dict[str, np.ndarray], rows: np.ndarray) -> None:
    """They are those of scikit-learn, with intervals; the baseline, which is older, has none."""
    clicked, reviewed = columns["clicked"][rows], columns["score"][rows] >= THRESHOLD
    missed = ((clicked == 1) & ~reviewed).sum()
    wanted = {
        "decision_precision": metrics.precision_score(clicked, reviewed),
        "decision_recall": metrics.recall_score(clicked, reviewed),
        "decision_share": reviewed.mean(),
        "decision_cost": (COSTS.review * reviewed.sum() + COSTS.missed * missed) / len(clicked),
    }
    for name, value in wanted.items():
        metric = found.metrics[name]
        assert metric.value == pytest.approx(value)
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low < metric.value < metric.high
    assert not found.baseline.keys() & wanted.keys()


def test_a_baseline_without_a_decision_cannot_be_compared_with(evaluate: Evaluate) -> None:
    """A baseline without a decision is a reason and no failure; an absolute bound still judges."""
    folder, blessing = evaluate(
        "score",
        "worse",
        metrics=DECIDED,
        thresholds={
            "calibration": None,
            "decision_recall": [{"max_worse": 0.05}, {"min": 0.1}],
            "decision_cost": {"max": 0.001, "max_worse_percent": 5},
        },
    )
    assert blessing["blessed"] == 0
    first, *others = sorted(read_verdict(str(folder)).reasons)
    assert first.startswith("decision_cost ")
    assert first.endswith("expected at most 0.001")
    assert others == [
        "decision_cost has no value here or at the baseline, expected to be worse by 5 % of it at "
        "most",
        "decision_recall has no value here or at the baseline, expected to be worse by 0.05 at "
        "most",
    ]


def test_a_model_without_a_decision_is_an_error(evaluate: Evaluate) -> None:
    with pytest.raises(Exception, match="each example must have one decision of the model, which"):
        evaluate("worse", metrics=DECIDED, thresholds={"calibration": None})


def test_each_bound_that_is_missed_is_named_with_its_value(
    evaluate: Evaluate, columns: dict[str, np.ndarray]
) -> None:
    positives = int(columns["clicked"].sum())
    folder, blessing = evaluate(
        "worse",
        "score",
        metrics=["auc", "log_loss"],
        thresholds={
            "auc": [{"min": 0.999}, {"max_worse": 0.0001}],
            "log_loss": {"max_worse_percent": 1},
            "recall_at_0.01": [{"slice": {"device": "phone"}, "min": 0.9}],
            "precision_above_0.1": [{"slice": {"device": "fridge"}, "min": 0.1}],
            "calibration": None,
        },
        min_positives=10_000,
    )
    auc = metrics.roc_auc_score(columns["clicked"], columns["worse"])
    better = metrics.roc_auc_score(columns["clicked"], columns["score"])
    assert blessing["blessed"] == 0
    reasons = "\n".join(read_verdict(str(folder)).reasons)
    assert f"auc {auc:.6g}, expected at least 0.999" in reasons
    worse = f"auc is {better - auc:.6g} lower than the baseline's"
    assert f"{worse}, expected to be worse by 0.0001 at most" in reasons
    assert "higher than the baseline's, expected to be worse by 1 % of it at most" in reasons
    assert f"positives {positives}, expected at least 10,000" in reasons
    assert "device=phone: recall_at_0.01 " in reasons
    assert "device=fridge: there are no examples" in reasons
    assert blessing["reason"] == reasons.replace("\n", "; ")
    written = json.loads((folder / "verdict.json").read_text())
    assert {(one["metric"], one["slice"]) for one in written["missed"]} == {
        ("auc", ""), ("log_loss", ""), ("positives", ""), ("negatives", ""),
        ("recall_at_0.01", "device=phone"), ("", "device=fridge"),
        ("positives", "device=phone"), ("negatives", "device=phone"),
    }  # fmt: skip


def test_no_model_is_blessed_beside_a_feature_that_tells_too_much(evaluate: Evaluate) -> None:
    folder, blessing = evaluate("score", thresholds={"calibration": None}, max_feature_auc=0.99)
    assert blessing["blessed"] == 0
    (reason,) = read_verdict(str(folder)).reasons
    assert reason.startswith("feature 'copy' alone almost tells the label (AUC ")
    assert reason.endswith("expected at most 0.99")
    (place,) = folder.parents[1].glob("blessing/*")
    assert [path.name for path in place.iterdir()] == ["NOT_BLESSED"]


@pytest.mark.unit
def test_an_evaluation_by_another_evaluator_has_no_verdict(tmp_path: Path) -> None:
    assert read_verdict(str(tmp_path)) == Verdict()
    (tmp_path / "verdict.json").write_text('{"telling": 3}')
    assert read_verdict(str(tmp_path)) == Verdict()
