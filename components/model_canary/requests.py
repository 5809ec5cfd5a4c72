"""Requests made of examples: to ask a server with, and to warm one up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.model_canary.server_process import NAME

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"  # where TensorFlow Serving looks


def request_of(examples: Sequence[bytes]) -> predict_pb2.PredictRequest:
    """Of `serving_default`, to the server of server_process.py."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(list(examples), tf.string))
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
