"""Runs every signature of a version before its first request.

A signature is compiled when it is first computed, separately for single and batched requests. For
the CTR model this takes up to a second, in which requests would fill the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError, Message
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import inference_pb2, model_pb2, predict_pb2, prediction_log_pb2

from base.shared_names import WARM_UP_FILE
from components.model_canary.requests import request_of_features
from serving.server import inference
from serving.server.errors import ServingError
from serving.server.loaded_model import DEFAULT_SIGNATURE, LoadedModel

_log = logging.getLogger(__name__)
MAX_REQUESTS = 1000  # as in TensorFlow Serving
_SYNTHETIC = ((1, False), (64, True))  # number of rows, and whether they are batched
_LOGS = {
    "predict_log": inference.predict,
    "classify_log": inference.classify,
    "regress_log": inference.regress,
    "multi_inference_log": inference.multi_inference,
}


def warm_up(model: LoadedModel, version: Path) -> int:
    """Runs the requests in assets.extra. A version for which one fails must not be served.

    Other signatures get synthetic requests with the examples of these requests, or zeros. The model
    may reject synthetic requests. Signatures that change variables or files are not run.

    Returns:
      The number of requests in assets.extra.

    Raises:
      ServingError: The model rejected one of them.
      ValueError: The file is not a valid warm-up file of TensorFlow Serving.
    """
    count, asked, examples = 0, set[str](), list[bytes]()
    for log in _recorded(version / WARM_UP_FILE):
        kind = log.WhichOneof("log_type")
        if kind not in _LOGS:
            raise ValueError(f"a warm-up request must be {', '.join(_LOGS)}. Received: {kind}")
        request = getattr(log, kind).request
        names = _signatures_asked(request)
        for batched in (True,) if names <= asked else (False, True):
            with model.warming_up(batched):
                _LOGS[kind](model, model_pb2.ModelSpec(), request)
        asked |= names
        examples = examples or _examples_of(request)
        count += 1
    others = sorted({*model.signatures} - asked - model.writing)
    for name in others:
        _run_synthetic(model, name, examples)
    _log.info(
        "%s: warmed up with %d recorded requests; with synthetic ones: %s",
        version, count, others or "none",
    )  # fmt: skip
    return count


def _recorded(path: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    if not path.exists():
        return
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).take(MAX_REQUESTS).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(serialized)
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is damaged: {error.message}") from None


def _signatures_asked(request: Any) -> set[str]:
    """Returns the names of the signatures that a request asks for."""
    multiple = isinstance(request, inference_pb2.MultiInferenceRequest)
    specs = [task.model_spec for task in request.tasks] if multiple else [request.model_spec]
    return {spec.signature_name or DEFAULT_SIGNATURE for spec in specs}


def _examples_of(request: Message) -> list[bytes]:
    """Returns the serialized tf.Examples that are the only input of a PredictRequest, or []."""
    if not isinstance(request, predict_pb2.PredictRequest) or len(request.inputs) != 1:
        return []
    (tensor,) = request.inputs.values()
    found = [*tensor.string_val]
    try:
        parsed = [tf.train.Example.FromString(one) for one in found]
    except DecodeError:
        return []
    return found if all(one.features.feature for one in parsed) else []


def _run_synthetic(model: LoadedModel, name: str, examples: Sequence[bytes]) -> None:
    """Runs a signature on one row, and on many rows through the scheduler."""
    signature = model.signatures[name]
    for rows, batched in _SYNTHETIC:
        given = examples[:rows]
        request = request_of_features("", name, signature, given) if given else None
        try:
            with model.warming_up(batched):
                if request is not None:
                    inference.predict(model, model_pb2.ModelSpec(), request)
                else:
                    model.run(name, _zeros(signature.inputs, rows), sorted(signature.outputs))
        except ServingError as error:
            _log.debug("%s rejects %d synthetic rows: %s", name, rows, error.message)


def _zeros(inputs: Mapping[str, meta_graph_pb2.TensorInfo], rows: int) -> dict[str, np.ndarray]:
    """Returns zeros or "" for each input. Unknown sizes are `rows` in the first place, else 1."""
    found = {}
    for alias, info in inputs.items():
        dtype, sizes = tf.as_dtype(info.dtype), [one.size for one in info.tensor_shape.dim]
        shape = [rows if place == 0 else 1 for place, _ in enumerate(sizes)]
        shape = [new if size == -1 else size for new, size in zip(shape, sizes, strict=True)]
        if dtype == tf.string:
            found[alias] = np.full(shape, b"", object)
        else:
            found[alias] = np.zeros(shape, dtype.as_numpy_dtype)
    return found
