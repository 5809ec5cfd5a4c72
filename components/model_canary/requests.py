"""Requests made of examples: to ask a server with, and to warm one up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.pusher.versions_folder import EXTRA

WARM_UP = Path(EXTRA) / "tf_serving_warmup_requests"  # where TensorFlow Serving looks


def request_of(
    model: str, examples: Sequence[bytes | tf.train.Example], label: str | None = None
) -> predict_pb2.PredictRequest:
    """What asks `serving_default` for the scores of tf.Examples, serialized or not.

    Args:
      model: its name.
      examples: of raw features.
      label: of the version; None for the newest.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if label is not None:
        request.model_spec.version_label = label
    tensor = request.inputs["examples"]
    tensor.dtype = tf.string.as_datatype_enum
    tensor.tensor_shape.dim.add(size=len(examples))
    tensor.string_val.extend(
        one if isinstance(one, bytes) else one.SerializeToString() for one in examples
    )
    return request


def write_warm_up(path: Path, requests: Sequence[predict_pb2.PredictRequest]) -> None:
    """As TensorFlow Serving reads it when it loads a version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            log.predict_log.request.model_spec.name = ""  # whatever it is called there
            writer.write(log.SerializeToString())
