"""Blesses the candidate if a server with it gives the scores of the training graph."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from base.errors import ComponentError
from base.model_outputs import DECISION
from base.shared_names import WARM_UP_FILE
from components.model_canary.requests import (
    request_of,
    requests_of_other_signatures,
    write_warm_up,
)
from components.model_canary.sampling import sample_examples
from components.model_canary.server_process import NAME, server_process
from components.model_canary.training_graph import Answers, TrainingGraph

_log = logging.getLogger(__name__)
REPORT = "report.json"
_WARM_UP_REQUESTS = 10
_SECONDS = 30.0  # timeout of one request


class NotBlessedError(Exception):
    """The reason why the candidate is not blessed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of component.py, as stored in the execution's properties."""

    server: str
    split: str
    requests: int
    candidates: int
    max_ms: float
    tolerance: float
    signature: str
    start_seconds: float


class ModelCanaryExecutor(base_executor.BaseExecutor):
    """See README.md."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        settings = Settings(**json.loads(exec_properties["settings"]))
        model = artifact_utils.get_single_instance(input_dict["model"])
        exported = Path(
            path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        )
        (split,) = artifact_utils.get_split_uris(input_dict["examples"], settings.split)
        graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        folder = Path(blessing.uri)
        folder.mkdir(parents=True, exist_ok=True)
        examples = sample_examples(Path(split), settings.requests * settings.candidates)
        requests = _requests(examples, settings)
        report: dict[str, Any] = {}
        reason = None
        try:
            with concurrent.futures.ThreadPoolExecutor(1) as meanwhile:  # the server takes seconds
                expected = meanwhile.submit(_expected, Path(graph), exported, settings, examples)
                served, others = _ask(exported, examples, settings, report, expected)
            _compare(expected.result().scores, served.scores, settings, report)
            _compare_decisions(expected.result(), served)
        except NotBlessedError as error:
            reason = str(error)
        report |= {"blessed": reason is None, "reason": reason}
        (folder / REPORT).write_text(json.dumps(report, indent=1), "utf-8")
        _mark(blessing, reason)
        if reason is None:
            write_warm_up(folder / WARM_UP_FILE, [*requests[:_WARM_UP_REQUESTS], *others])


def _ask(
    exported: Path,
    examples: Sequence[bytes],
    settings: Settings,
    report: dict[str, Any],
    other: concurrent.futures.Future[Answers],
) -> tuple[Answers, list[predict_pb2.PredictRequest]]:
    """Returns all answers in order, and the requests to other signatures that were answered.

    Latencies go to the report. They are measured after `other` has released the cores.
    """
    requests = _requests(examples, settings)
    answers, milliseconds = [], []
    try:
        with (
            tempfile.TemporaryDirectory() as scratch,
            server_process(
                settings.server, exported, Path(scratch), settings.start_seconds
            ) as address,
            grpc.insecure_channel(address) as channel,
        ):
            concurrent.futures.wait([other])
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for request in (requests[0], *requests):  # the first request warms up
                started = time.perf_counter()
                try:
                    response = stub.Predict(request, timeout=_SECONDS)
                except grpc.RpcError as error:
                    raise NotBlessedError(_refusal(channel, error)) from None
                milliseconds.append(1000 * (time.perf_counter() - started))
                outputs = {n: tf.make_ndarray(one) for n, one in response.outputs.items()}
                answers.append(Answers.of(outputs))
            asked = requests_of_other_signatures(NAME, exported, examples[: settings.candidates])
            answered = [request for request in asked if _is_answered(stub, request)]
    except ComponentError as error:
        raise NotBlessedError(str(error)) from None
    del answers[0], milliseconds[0]
    report["requests"] = len(requests)
    report["ms"] = {str(q): float(np.percentile(milliseconds, q)) for q in (50, 90, 99)}
    found = Answers.joined(answers)
    if not np.isfinite(found.scores).all():
        wrong = int((~np.isfinite(found.scores)).sum())
        raise NotBlessedError(f"{wrong} of {found.scores.size} scores are not finite numbers")
    if report["ms"]["99"] > settings.max_ms:
        raise NotBlessedError(
            f"the 99th percentile of the latency is {report['ms']['99']:.0f} ms, more than the "
            f"{settings.max_ms:g} ms that are allowed"
        )
    return found, answered


def _requests(examples: Sequence[bytes], settings: Settings) -> list[predict_pb2.PredictRequest]:
    """Returns requests to `serving_default` with `candidates` examples each."""
    size = settings.candidates
    return [request_of(NAME, examples[n : n + size]) for n in range(0, len(examples), size)]


def _is_answered(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, request: predict_pb2.PredictRequest
) -> bool:
    """Returns whether a request can warm up a version. A failing one would prevent loading."""
    try:
        stub.Predict(request, timeout=_SECONDS)
    except grpc.RpcError as error:
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        name = request.model_spec.signature_name
        _log.warning("signature %s will not be warmed up with examples: %s", name, details)
        return False
    return True


def _refusal(channel: grpc.Channel, error: grpc.RpcError) -> str:
    """Returns why a request failed; for a missing model, why it did not load."""
    details = error.details() if isinstance(error, grpc.Call) else str(error)
    if not isinstance(error, grpc.Call) or error.code() != grpc.StatusCode.NOT_FOUND:
        return f"the server refused a request: {details}"
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = NAME
    try:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        found = stub.GetModelStatus(asked, timeout=_SECONDS).model_version_status
    except grpc.RpcError:
        return f"the server refused a request: {details}"
    return f"the server does not load it: {'; '.join(v.status.error_message for v in found)}"


def _expected(
    graph: Path, exported: Path, settings: Settings, examples: Sequence[bytes]
) -> Answers:
    """Returns the training graph's answers."""
    training = TrainingGraph(graph, exported, settings.signature)
    return training.answers(training.transform(examples))


def _compare(
    expected: np.ndarray,
    scores: np.ndarray,
    settings: Settings,
    report: dict[str, Any],
) -> None:
    """Raises NotBlessedError if training and serving differ.

    Scores beyond 1, as a regression has them, may differ by a share: they are 32-bit floats.
    """
    if expected.shape != scores.shape:
        raise NotBlessedError(
            f"scores of shape {[*scores.shape]}, and the training graph has {[*expected.shape]}"
        )
    difference = np.abs(expected - scores) / np.maximum(np.abs(expected), 1)
    difference = np.nan_to_num(difference, nan=np.inf)  # NaN equals nothing
    worst = np.unravel_index(difference.argmax(), difference.shape)
    report["examples"], report["max_difference"] = len(expected), float(difference[worst])
    if difference[worst] > settings.tolerance:
        # An example counts once, however many of its classes differ.
        wrong = int((difference > settings.tolerance).reshape(len(scores), -1).any(axis=1).sum())
        raise NotBlessedError(
            f"{wrong} of {len(scores)} scores are not those of the training graph: served "
            f"{scores[worst]:.6f}, trained {expected[worst]:.6f}; `python -m serving skew` names "
            "the features that differ"
        )


def _compare_decisions(expected: Answers, served: Answers) -> None:
    """Raises NotBlessedError if no threshold explains all decisions, trained and served.

    Near the threshold two decisions may differ, as their scores do.
    """
    if served.decisions is None and expected.decisions is None:
        return
    if served.decisions is None or expected.decisions is None:
        one, other = ("server", "training graph")[:: 1 if expected.decisions is None else -1]
        raise NotBlessedError(f"the {one} returns a {DECISION}, and the {other} returns none")
    scores = np.concatenate([expected.scores, served.scores])
    reviewed = np.concatenate([expected.decisions, served.decisions]) == 1
    if reviewed.all() or not reviewed.any():
        return
    lowest, highest = scores[reviewed].min(), scores[~reviewed].max()
    if lowest <= highest:
        raise NotBlessedError(
            f"the decisions are not those of one threshold: an example with the score {lowest:.6f} "
            f"is reviewed, and one with {highest:.6f} is not"
        )


def _mark(blessing: types.Artifact, reason: str | None) -> None:
    """Marks the blessing like the standard InfraValidator, with the reason."""
    blessed = reason is None
    name = "INFRA_BLESSED" if blessed else "INFRA_NOT_BLESSED"
    (Path(blessing.uri) / name).write_text("")
    blessing.set_int_custom_property("blessed", int(blessed))
    if reason is None:
        _log.info("the candidate is blessed")
    else:
        blessing.set_string_custom_property("reason", reason)
        _log.warning("the candidate is not blessed, and will not be pushed: %s", reason)
