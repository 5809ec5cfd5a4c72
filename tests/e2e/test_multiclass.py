"""Three classes, with weights of rows and classes, from two files and a config to a server."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc

from components.evaluator.evaluation_files import read_evaluation
from metadata.reader import MetadataReader
from tests.e2e.project import Project
from tests.e2e.written_application import summary_of_run, write_application

pytestmark = pytest.mark.e2e

ROWS = 6000
CLASSES = ("billing", "outage", "cancel")
FEATURES = f"""
from tabular.feature_set import Categorical, FeatureSet, Numeric

FEATURES = FeatureSet(
    label="queue",
    keys=("ticket_id",),
    features=(Numeric("words"), Numeric("tenure"), Categorical("channel", vocabulary=10)),
    task="multiclass",
    classes={CLASSES!r},
    weight="cost",
)
"""
APPLICATION = """
from pyspark.sql import functions as F

from tickets.features import FEATURES as features


def build_examples(spark, sources, context):
    floats = {name: F.col(name).cast("float") for name in ("words", "tenure", "cost")}
    return sources["tickets"].withColumns(floats).select(*features.columns)
"""
CONFIG = """
serving: {request_log: {keys: [ticket_id], rate: 1}}
trainer:
  parameters: {epochs: 10, batch_size: 256, deep_layers: [32], dropout: 0, class_weights: balanced}
evaluator:
  label: queue
  prediction: probabilities
  weight: cost
  metrics: [log_loss, accuracy, {top_k_accuracy: 2}, macro_auc, {auc_of: cancel}]
  slices: [[channel]]
  thresholds: {macro_auc: {min: 0.8}, auc_of_cancel: {min: 0.7}, log_loss: {max: 0.8}}
  min_positives: 20
"""
TYPES = {
    "ticket_id": "BYTES", "channel": "BYTES", "queue": "INT",
    "words": "FLOAT", "tenure": "FLOAT", "cost": "FLOAT",
}  # fmt: skip


def tickets() -> dict[str, Any]:
    """Rows of which 5 % are of class `cancel`."""
    chance = np.random.default_rng(11)
    words, tenure = chance.normal(size=ROWS), chance.normal(size=ROWS)
    channel = chance.integers(0, 3, ROWS)
    scores = np.stack([1.5 * words + 1, -1.5 * words + (channel == 2), 2 * tenure - 3], axis=1)
    queue = (scores + chance.gumbel(size=scores.shape)).argmax(axis=1)
    return {
        "ticket_id": [f"t{number}" for number in range(ROWS)],
        "channel": [f"c{number}" for number in channel],
        "queue": queue,
        "words": words,
        "tenure": tenure,
        "cost": chance.integers(0, 4, ROWS).astype(float),
    }


@pytest.fixture(scope="module")
def desk(project: Project) -> Project:
    """The project with the application, its config and its data."""
    modules = {"features": FEATURES, "application": APPLICATION}
    write_application(project, "tickets", modules, CONFIG, TYPES, tickets())
    return project


@pytest.fixture(scope="module")
def summary(desk: Project) -> dict[str, Any]:
    return summary_of_run(desk, "tickets")


def test_it_learns_and_is_pushed(desk: Project, summary: dict[str, Any]) -> None:
    assert summary["blessed"]
    assert summary["canary"]["blessed"]
    assert summary["metrics"]["log_loss"] < 0.6
    assert summary["metrics"]["macro_auc"] > 0.85
    assert summary["metrics"]["top_k_accuracy_2"] > summary["metrics"]["accuracy"] > 0.7
    low, high = summary["intervals"]["accuracy"]
    assert low < summary["metrics"]["accuracy"] < high
    store = MetadataReader.sqlite(Path(desk.folder, "runs/tickets/metadata.sqlite"))
    assert len(store.artifacts_of_type("PushedModel")) == 1
    (evaluation,) = store.artifacts_of_type("ModelEvaluation")
    found = read_evaluation(evaluation.uri)
    assert found is not None
    assert found.confusion is not None
    assert found.confusion.classes == CLASSES
    assert np.array(found.confusion.rows).trace() > 0


def test_a_server_answers_with_the_classes(desk: Project, summary: dict[str, Any]) -> None:
    """Predict, Classify of TensorFlow Serving, JSON columns, and no skew in what was logged."""
    with desk.served("--config", "tickets.yaml") as address:
        done = desk.command(
            *("-m", "serving", "predict", "--config", "tickets.yaml"),
            *("--server", address, "--count", "200"),
        )
        asked = classification_pb2.ClassificationRequest()
        asked.model_spec.name, asked.model_spec.signature_name = "tickets", "classify"
        for words in (3.0, -3.0):
            features = asked.input.example_list.examples.add().features.feature
            for name, value in (("words", words), ("tenure", 0.0)):
                features[name].float_list.value.append(value)
            features["channel"].bytes_list.value.append(b"c0")
        with grpc.insecure_channel(address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answered = stub.Classify(asked, timeout=30).result.classifications
        rest = json.loads((desk.folder / "ports.json").read_text())["rest"]
        columns = {"words": [3.0, -3.0], "tenure": [0.0, 0.0], "channel": ["c0", "c0"]}
        body = json.dumps({"signature_name": "raw_features", "inputs": columns}).encode()
        url = f"http://127.0.0.1:{rest}/v1/models/tickets:predict"
        with urllib.request.urlopen(url, body, timeout=30) as response:
            by_column = json.loads(response.read())["outputs"]
    pairs = [line.strip("│ ").split("│")[-2:] for line in done.stdout.splitlines() if "│" in line]
    right = [CLASSES[int(label)] == score.split()[0] for score, label in pairs]
    assert len(right) == 200
    assert np.mean(right) > 0.6
    for answer, expected in zip(answered, ("billing", "outage"), strict=True):
        scores = {one.label: one.score for one in answer.classes}
        assert tuple(scores) == CLASSES
        assert max(scores, key=scores.__getitem__) == expected
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    both = [[one.score for one in answer.classes] for answer in answered]
    assert np.array(by_column) == pytest.approx(np.array(both), abs=1e-5)
    done = desk.command("-m", "serving", "skew", "--config", "tickets.yaml")
    assert "no skew" in done.stdout


def test_balanced_weights_do_not_predict_the_rare_class_too_often(
    desk: Project, summary: dict[str, Any]
) -> None:
    store = MetadataReader.sqlite(Path(desk.folder, "runs/tickets/metadata.sqlite"))
    (evaluation,) = store.artifacts_of_type("ModelEvaluation")
    found = read_evaluation(evaluation.uri)
    assert found is not None
    assert found.confusion is not None
    rows = np.array(found.confusion.rows)
    assert rows[:, 2].sum() < 1.3 * rows[2].sum()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("evaluator.weight=null", "evaluator.weight: the model of tickets learns with the weight"),
        ("evaluator.metrics=[{auc_of: cancle}]", "Did you mean 'cancel'?"),
        ("evaluator.metrics=[{top_k_accuracy: 3}]", "expected fewer classes than the 3"),
        ("trainer.parameters.class_weights={3: 5}", "expected labels from 0 to 2. Received: 3"),
        ("evaluator.metrics=[auc]", "macro_auc is a metric of a multiclass task"),
    ],
)
def test_what_does_not_fit_the_classes_is_one_line(desk: Project, override: str, said: str) -> None:
    done = desk.command("local_runner.py", "--config", "tickets.yaml", f"--set={override}", code=2)
    assert said in done.stderr
