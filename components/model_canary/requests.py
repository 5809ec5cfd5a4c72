"""Builds requests from examples, to test a server and to warm one up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from components.model_canary.side_effects import signatures_that_write

_PARSED = (tf.string, tf.int64, tf.float32)  # what a tf.Example can hold


def request_of(
    model: str, examples: Sequence[bytes | tf.train.Example], label: str | None = None
) -> predict_pb2.PredictRequest:
    """Returns a request to `serving_default` for the scores of tf.Examples, serialized or not.

    Args:
      model: Name of the model.
      examples: Examples of raw features.
      label: Label of the version; None for the newest version.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if label is not None:
        request.model_spec.version_label = label
    _fill(request, "examples", examples)
    return request


def request_of_arrays(
    model: str, signature: str, arrays: Mapping[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    """Returns a request to a signature.

    Args:
      model: Name of the model.
      signature: Name of the signature.
      arrays: Input -> values, with the signature's types and shapes.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, array in arrays.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return request


def request_of_features(
    model: str, name: str, signature: meta_graph_pb2.SignatureDef, examples: Sequence[bytes]
) -> predict_pb2.PredictRequest | None:
    """Returns a request to a signature that takes examples, or one tensor per feature.

    An input with a second unknown dimension is a list, padded to the longest one with "" or 0. A
    missing feature is "" or 0.

    Args:
      model: Name of the model.
      name: Name of the signature.
      signature: Definition of the signature.
      examples: Serialized tf.Examples.

    Returns:
      Request, or None if the signature takes other inputs.
    """
    inputs = signature.inputs
    if len(inputs) == 1:
        ((alias, info),) = inputs.items()
        if info.dtype == tf.string.as_datatype_enum and len(info.tensor_shape.dim) == 1:
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, name
            _fill(request, alias, examples)
            return request
    arrays = _feature_arrays(inputs, examples)
    return None if arrays is None else request_of_arrays(model, name, arrays)


def requests_of_other_signatures(
    model: str, exported: Path, examples: Sequence[bytes]
) -> list[predict_pb2.PredictRequest]:
    """Returns a request to each signature except `serving_default` that takes these examples.

    Signatures that change variables or files are left out.

    Args:
      model: Name of the model.
      exported: Folder of the SavedModel.
      examples: Serialized tf.Examples of raw features.
    """
    graph = _read(exported)
    signatures = _signatures(graph)
    others = {*signatures} - {tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY}
    found = [
        request_of_features(model, name, signatures[name], examples)
        for name in sorted(others - signatures_that_write(graph.graph_def, signatures))
    ]
    return [request for request in found if request is not None]


def signatures_of(exported: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Returns name -> signature of a SavedModel, without loading the model.

    Args:
      exported: Folder of the SavedModel.
    """
    return _signatures(_read(exported))


def write_warm_up(path: Path, requests: Sequence[predict_pb2.PredictRequest]) -> None:
    """Writes the requests that TensorFlow Serving replays when it loads a version.

    A version with a failing request does not load.

    Args:
      path: File to write.
      requests: At most 1000 requests.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            log.predict_log.request.model_spec.name = ""  # the server may use another name
            writer.write(log.SerializeToString())


def _read(exported: Path) -> meta_graph_pb2.MetaGraphDef:
    """Reads the graph with the tag `serve`."""
    content = (exported / tf.saved_model.SAVED_MODEL_FILENAME_PB).read_bytes()
    saved = saved_model_pb2.SavedModel.FromString(content)
    return next(
        one for one in saved.meta_graphs if tf.saved_model.SERVING in one.meta_info_def.tags
    )


def _signatures(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    return {
        name: signature
        for name, signature in graph.signature_def.items()
        if not name.startswith("__")  # __saved_model_init_op
    }


def _fill(
    request: predict_pb2.PredictRequest, alias: str, examples: Sequence[bytes | tf.train.Example]
) -> None:
    """Puts the examples into one input, as one string each."""
    tensor = request.inputs[alias]
    tensor.dtype = tf.string.as_datatype_enum
    tensor.tensor_shape.dim.add(size=len(examples))
    tensor.string_val.extend(
        one if isinstance(one, bytes) else one.SerializeToString() for one in examples
    )


def _feature_arrays(
    inputs: Mapping[str, meta_graph_pb2.TensorInfo], examples: Sequence[bytes]
) -> dict[str, np.ndarray] | None:
    """Returns input -> values of the feature with its name; None if the inputs are not features."""
    present = {
        name for one in examples for name in tf.train.Example.FromString(one).features.feature
    }
    if not inputs or not present & {*inputs}:
        return None
    spec = {name: _feature_spec(info) for name, info in inputs.items()}
    if None in spec.values():
        return None
    try:
        parsed = tf.io.parse_example([*examples], spec)
    except tf.errors.InvalidArgumentError:  # a feature of this name that is of another type
        return None
    return {
        name: (tf.sparse.to_dense(t) if isinstance(t, tf.SparseTensor) else t).numpy()
        for name, t in parsed.items()
    }


def _feature_spec(
    info: meta_graph_pb2.TensorInfo,
) -> tf.io.FixedLenFeature | tf.io.VarLenFeature | None:
    """Returns how to parse an input's feature; None if tf.Examples cannot hold it."""
    dtype, sizes = tf.as_dtype(info.dtype), [one.size for one in info.tensor_shape.dim]
    if dtype not in _PARSED or sizes[:1] != [-1]:
        return None
    if sizes == [-1, -1]:
        return tf.io.VarLenFeature(dtype)
    if -1 in sizes[1:]:
        return None
    zeros = np.zeros(sizes[1:], object if dtype == tf.string else dtype.as_numpy_dtype)
    if dtype == tf.string:
        zeros[...] = b""
    return tf.io.FixedLenFeature(sizes[1:], dtype, zeros.tolist())
