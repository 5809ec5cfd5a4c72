"""Replays a version's warm-up requests, so that the first user does not pay for the first run."""

from __future__ import annotations

import logging
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import model_pb2, prediction_log_pb2

from components.model_canary.requests import WARM_UP
from serving.server import inference
from serving.server.loaded_model import LoadedModel

_log = logging.getLogger(__name__)
MOST = 1000  # as many as TensorFlow Serving takes
_LOGS = {
    "predict_log": inference.predict,
    "classify_log": inference.classify,
    "regress_log": inference.regress,
    "multi_inference_log": inference.multi_inference,
}


def warm_up(model: LoadedModel, version: Path) -> int:
    """Runs the requests of assets.extra; each that fails is a reason not to serve the version.

    Returns:
      How many there were.

    Raises:
      ServingError: the model refused one.
      ValueError: the file is not of TensorFlow Serving's kind.
    """
    path = version / WARM_UP
    if not path.exists():
        return 0
    count = 0
    try:
        for serialized in tf.data.TFRecordDataset(str(path)).take(MOST).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(serialized)
            kind = log.WhichOneof("log_type")
            if kind not in _LOGS:
                raise ValueError(f"a warm-up request is a {kind}, not one of {', '.join(_LOGS)}")
            request = getattr(log, kind).request
            _LOGS[kind](model, model_pb2.ModelSpec(), request)
            count += 1
    except tf.errors.DataLossError as error:
        raise ValueError(f"{path} is damaged: {error.message}") from None
    _log.info("%s: warmed up with %d requests", version, count)
    return count
