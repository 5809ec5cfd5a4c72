"""Runs every signature of a version before its first request, which would wait for it otherwise.

A signature is compiled when it is first computed, alone and through the batch scheduler each: for
the CTR model a quarter of a second to a second. Requests that come meanwhile fill the queue.
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
MOST = 1000  # as many as TensorFlow Serving takes
_MADE_UP = ((1, False), (64, True))  # rows, and whether they go through the scheduler
_LOGS = {
    "predict_log": inference.predict,
    "classify_log": inference.classify,
    "regress_log": inference.regress,
    "multi_inference_log": inference.multi_inference,
}


def warm_up(model: LoadedModel, version: Path) -> int:
    """Runs the requests of assets.extra; each that fails is a reason not to serve the version.

    Signatures that have none there are asked with the examples of those requests, or with zeros. To
    such a request the model may object, and what changes variables or files is not asked.

    Returns:
      How many requests there were in assets.extra.

    Raises:
      ServingError: the model refused one of these.
      ValueError: the file is not of TensorFlow Serving's kind.
    """
    count, asked, examples = 0, set[str](), list[bytes]()
    for log in _recorded(version / WARM_UP_FILE):
        kind = log.WhichOneof("log_type")
        if kind not in _LOGS:
            raise ValueError(f"a warm-up request is a {kind}, not one of {', '.join(_LOGS)}")
        request = getattr(log, kind).request
        names = _signatures_asked(request)
        for batched in (True,) if names <= asked else (False, True):
            with model.warming_up(batched):
                _LOGS[kind](model, model_pb2.ModelSpec(), request)
        asked |= names
        examples = examples or _examples_of(request)
        count += 1
    made_up = sorted({*model.signatures} - asked - model.writing)
    for name in made_up:
        _run_made_up(model, name, examples)
    _log.info("%s: warmed up with %d requests; without: %s", version, count, made_up or "none")
    return count


def _recorded(path: Path) -> Iterator[prediction_log_pb2.PredictionLog]:
    if not path.exists():
        return
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).take(MOST).as_numpy_iterator():
            yield prediction_log_pb2.PredictionLog.FromString(serialized)
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is damaged: {error.message}") from None


def _signatures_asked(request: Any) -> set[str]:
    """Names of the signatures that a request is computed by."""
    multiple = isinstance(request, inference_pb2.MultiInferenceRequest)
    specs = [task.model_spec for task in request.tasks] if multiple else [request.model_spec]
    return {spec.signature_name or DEFAULT_SIGNATURE for spec in specs}


def _examples_of(request: Message) -> list[bytes]:
    """The tf.Examples that a PredictRequest has as its only input, serialized; else none."""
    if not isinstance(request, predict_pb2.PredictRequest) or len(request.inputs) != 1:
        return []
    (tensor,) = request.inputs.values()
    found = [*tensor.string_val]
    try:
        parsed = [tf.train.Example.FromString(one) for one in found]
    except DecodeError:
        return []
    return found if all(one.features.feature for one in parsed) else []


def _run_made_up(model: LoadedModel, name: str, examples: Sequence[bytes]) -> None:
    """Asks a signature for one row, alone, and for many through the scheduler."""
    signature = model.signatures[name]
    for rows, batched in _MADE_UP:
        given = examples[:rows]
        request = request_of_features("", name, signature, given) if given else None
        try:
            with model.warming_up(batched):
                if request is not None:
                    inference.predict(model, model_pb2.ModelSpec(), request)
                else:
                    model.run(name, _zeros(signature.inputs, rows), sorted(signature.outputs))
        except ServingError as error:
            _log.debug("%s objects to %d rows made up: %s", name, rows, error.message)


def _zeros(inputs: Mapping[str, meta_graph_pb2.TensorInfo], rows: int) -> dict[str, np.ndarray]:
    """Input -> zeros or "", with `rows` and 1 for the sizes that are not known."""
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
