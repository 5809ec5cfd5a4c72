"""Writes the body of a REST prediction for probes of a version.

Only the model knows which examples it can score. It has already answered its warm-up requests, so
the probe uses the first row of the first one with examples.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from base.shared_names import ASSETS_EXTRA, WARM_UP_FILE

PROBE = Path(ASSETS_EXTRA) / "probe.json"


def write_probe(version: Path) -> None:
    """Writes `assets.extra/probe.json` of a version that has warm-up requests.

    Args:
      version: Folder of the version. If it has no warm-up requests with serialized examples,
        nothing is written and a probe only asks whether the version is loaded.
    """
    if not (version / WARM_UP_FILE).exists():
        return
    for record in tf.data.TFRecordDataset(str(version / WARM_UP_FILE)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        body = _body(log.predict_log.request)
        if body is not None:
            (version / PROBE).write_text(json.dumps(body), "utf-8")
            return


def _body(request: predict_pb2.PredictRequest) -> dict[str, object] | None:
    """Returns the first row as a REST body of TensorFlow Serving; None for tensors of numbers."""
    if len(request.inputs) != 1:
        return None
    (tensor,) = request.inputs.values()
    if tensor.dtype != tf.string.as_datatype_enum or len(tensor.tensor_shape.dim) != 1:
        return None
    rows = tf.make_ndarray(tensor)
    if not len(rows):
        return None
    body: dict[str, object] = {"instances": [{"b64": base64.b64encode(rows[0]).decode()}]}
    if request.model_spec.signature_name:
        body = {"signature_name": request.model_spec.signature_name, **body}
    return body
