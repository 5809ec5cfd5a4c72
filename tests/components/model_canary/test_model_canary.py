"""The canary, with the project's own server as a process: what it blesses, and why it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils
from tfx.types import Artifact, artifact_utils, standard_artifacts

from base.errors import ComponentError
from base.shared_names import WARM_UP_FILE
from components.model_canary.component import ModelCanary
from components.model_canary.executor import (
    REPORT,
    ModelCanaryExecutor,
    NotBlessedError,
    _compare_decisions,
)
from components.model_canary.training_graph import Answers

pytestmark = pytest.mark.component

RAW = {"x": tf.io.FixedLenFeature([], tf.float32), "clicked": tf.io.FixedLenFeature([], tf.int64)}
ROWS = 50


def preprocess(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {"x_xf": tft.scale_to_0_1(inputs["x"]), "clicked": inputs["clicked"]}


@pytest.fixture(scope="module")
def transform_graph(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("transform_graph")
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(RAW))
    rows = [{"x": float(n), "clicked": n % 2} for n in range(ROWS)]
    with beam.Pipeline() as pipeline, tft_beam.Context(temp_dir=str(folder / "temporary")):
        data = pipeline | beam.Create(rows)
        function = (data, metadata) | tft_beam.AnalyzeDataset(preprocess)
        function | tft_beam.WriteTransformFn(str(folder))
        raw = folder / tft.TFTransformOutput.RAW_METADATA_DIR
        metadata | tft_beam.WriteMetadata(str(raw), pipeline)
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    split = folder / "Split-eval"
    split.mkdir()
    with tf.io.TFRecordWriter(str(split / "data.gz"), "GZIP") as writer:
        for n in range(ROWS):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.append(float(n))
            example.features.feature["clicked"].int64_list.value.append(n % 2)
            writer.write(example.SerializeToString())
    return folder


class Served(tf.Module):
    """score = sigmoid(x_xf), with what may go wrong on the way to it."""

    def __init__(
        self, transform_graph: Path, shift: float, wrong: float, thresholds: Sequence[float]
    ):
        super().__init__()
        self.thresholds = [*thresholds]  # of the server and of the training graph; none if empty
        self.layer = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
        self.shift, self.wrong = shift, wrong

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        raw = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([], tf.float32)})
        score = tf.sigmoid(self.layer(raw)["x_xf"] + self.shift)
        return self._decided(score * self.wrong, self.thresholds[:1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x_xf")])
    def score(self, x_xf: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._decided(tf.sigmoid(x_xf), self.thresholds[1:])

    def _decided(self, score: tf.Tensor, threshold: Sequence[float]) -> dict[str, tf.Tensor]:
        if not threshold:
            return {"score": score}
        return {"score": score, "decision": tf.cast(score >= threshold[0], tf.int64)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def features(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.sigmoid(self.layer({"x": x})["x_xf"])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def refusing(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.size(x) < 0, data=[x])]):
            return {"score": tf.identity(x)}


def model(
    folder: Path,
    graph: Path,
    shift: float = 0.0,
    wrong: float = 1.0,
    thresholds: Sequence[float] = (),
) -> Path:
    served = Served(graph, shift, wrong, thresholds)
    signatures = {
        "serving_default": served.serve,
        "score_transformed": served.score,
        "features": served.features,
        "refusing": served.refusing,
    }
    tf.saved_model.save(served, str(folder / "Format-Serving"), signatures=signatures)
    return folder


def ask(model: Path, graph: Path, examples: Path, out: Path, **settings: Any) -> Artifact:
    """Runs the component's executor; returns the blessing."""
    inputs: dict[str, Artifact] = {
        "model": standard_artifacts.Model(),
        "examples": standard_artifacts.Examples(),
        "transform_graph": standard_artifacts.TransformGraph(),
    }
    for name, path in {"model": model, "examples": examples, "transform_graph": graph}.items():
        inputs[name].uri = str(path)
    inputs["examples"].split_names = artifact_utils.encode_split_names(["eval"])
    canary = ModelCanary(
        model=_channel(inputs["model"]),
        examples=_channel(inputs["examples"]),
        transform_graph=_channel(inputs["transform_graph"]),
        **{"server": "serving", "requests": 3, "candidates": 10, **settings},
    )
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(out)
    ModelCanaryExecutor().Do(
        {name: [artifact] for name, artifact in inputs.items()},
        {"blessing": [blessing]},
        dict(canary.spec.exec_properties),
    )
    return blessing


def _channel(artifact: Artifact) -> Any:
    from tfx.types import channel_utils

    return channel_utils.as_channel([artifact])


def warm_up_requests(folder: Path) -> list[predict_pb2.PredictRequest]:
    logs = tf.data.TFRecordDataset(str(folder / WARM_UP_FILE)).as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(one).predict_log.request for one in logs]


def refusal(blessing: Artifact) -> str:
    assert blessing.get_int_custom_property("blessed") == 0
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").exists()
    assert not (Path(blessing.uri) / "assets.extra").exists()
    return str(blessing.get_string_custom_property("reason"))


def test_a_good_candidate_is_blessed(transform_graph, examples, tmp_path: Path) -> None:
    good = model(tmp_path / "model", transform_graph, thresholds=(0.6, 0.6))
    blessing = ask(good, transform_graph, examples, tmp_path / "out")
    assert blessing.get_int_custom_property("blessed") == 1
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["blessed"]
    assert (report["requests"], report["examples"]) == (3, 30)
    assert report["ms"]["50"] <= report["ms"]["99"]
    *requests, of_features = warm_up_requests(tmp_path / "out")
    assert [len(one.inputs["examples"].string_val) for one in requests] == [10, 10, 10]
    assert of_features.model_spec.signature_name == "features"
    assert tf.make_ndarray(of_features.inputs["x"]).tolist() == [float(n) for n in range(10)]


def test_a_decision_that_is_not_the_trainings(transform_graph, examples, tmp_path) -> None:
    deciding = model(tmp_path / "model", transform_graph, thresholds=(0.55, 0.65))
    reason = refusal(ask(deciding, transform_graph, examples, tmp_path / "out"))
    assert reason.startswith("the decisions are not those of one threshold: an example with the")


@pytest.mark.unit
def test_one_threshold_explains_decisions_that_differ_by_rounding() -> None:
    trained = Answers(np.array([0.1, 0.3, 0.5]), np.array([0, 0, 1]))
    _compare_decisions(trained, Answers(np.array([0.1, 0.300001, 0.5]), np.array([0, 1, 1])))
    _compare_decisions(trained, trained)
    for all_or_none in (0, 1):
        same = Answers(trained.scores, np.full(3, all_or_none))
        _compare_decisions(same, same)
    with pytest.raises(NotBlessedError, match=r"score 0.300000 is reviewed, and one with 0.300000"):
        _compare_decisions(trained, Answers(trained.scores, np.array([0, 1, 1])))
    without = Answers(trained.scores, None)
    _compare_decisions(without, without)
    with pytest.raises(NotBlessedError, match="the server returns a decision, and the training"):
        _compare_decisions(without, trained)
    with pytest.raises(NotBlessedError, match="the training graph returns a decision, and the ser"):
        _compare_decisions(trained, without)


def test_preprocessing_that_is_not_the_trainings(transform_graph, examples, tmp_path) -> None:
    shifted = model(tmp_path / "model", transform_graph, shift=0.1)
    reason = refusal(ask(shifted, transform_graph, examples, tmp_path / "out"))
    assert reason.startswith("30 of 30 scores are not those of the training graph")
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["reason"] == reason
    assert report["max_difference"] > 0.01


def test_scores_that_are_no_numbers(transform_graph, examples, tmp_path) -> None:
    broken = model(tmp_path / "model", transform_graph, wrong=math.nan)
    reason = refusal(ask(broken, transform_graph, examples, tmp_path / "out"))
    wanted = 'the server refused a request: example 0: output "score" must be a finite number.'
    assert reason.startswith(wanted)


def test_a_model_that_does_not_load(transform_graph, examples, tmp_path) -> None:
    cut = model(tmp_path / "model", transform_graph)
    graph = cut / "Format-Serving" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:200])
    reason = refusal(ask(cut, transform_graph, examples, tmp_path / "out"))
    assert reason.startswith("the server does not load it: ")
    assert len(reason) > 40


def test_a_model_that_is_too_slow(transform_graph, examples, tmp_path) -> None:
    good = model(tmp_path / "model", transform_graph)
    reason = refusal(ask(good, transform_graph, examples, tmp_path / "out", max_ms=0.001))
    assert "99th percentile of the latency" in reason


def test_a_server_that_does_not_start(transform_graph, examples, tmp_path) -> None:
    good = model(tmp_path / "model", transform_graph)
    reason = refusal(ask(good, transform_graph, examples, tmp_path / "out", server="no_server"))
    assert "the model server ended" in reason
    assert "no_server" in reason


def test_a_model_without_the_other_signature_is_an_error(
    transform_graph, examples, tmp_path
) -> None:
    good = model(tmp_path / "model", transform_graph)
    with pytest.raises(ComponentError, match="has no signature by_hand"):
        ask(good, transform_graph, examples, tmp_path / "out", signature="by_hand")


def test_a_split_without_examples_is_an_error(transform_graph, tmp_path) -> None:
    good = model(tmp_path / "model", transform_graph)
    (tmp_path / "empty" / "Split-eval").mkdir(parents=True)
    with pytest.raises(ComponentError, match="no example in"):
        ask(good, transform_graph, tmp_path / "empty", tmp_path / "out")


def test_a_wrong_number_of_requests() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        ModelCanary(
            model=_channel(standard_artifacts.Model()),
            examples=_channel(standard_artifacts.Examples()),
            transform_graph=_channel(standard_artifacts.TransformGraph()),
            server="serving",
            requests=0,
        )
