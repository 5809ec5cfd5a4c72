"""A version in memory: a session, as TensorFlow Serving has it, with TensorFlow's own batching."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.errors import of_tensorflow

DEFAULT_SIGNATURE = "serving_default"
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")  # how a signature calls its function


@dataclasses.dataclass(frozen=True)
class Batching:
    """Requests that wait are computed together.

    Attributes:
      max_rows: of a batch; a request with more is cut into several.
      threads: batches that are computed at the same time.
      wait_us: how long a batch waits for company, in microseconds.
      max_batches: that wait; what comes then is refused.
    """

    max_rows: int = 1024
    threads: int = 2
    wait_us: int = 0
    max_batches: int = 64


class LoadedModel:
    """A SavedModel in a session of its own.

    Args:
      path: folder of the version.
      name: unique in the process; names its queue.
      batching: None to compute each request alone.
    """

    def __init__(self, path: Path, name: str, batching: Batching | None):
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
                self.signatures: dict[str, meta_graph_pb2.SignatureDef] = {
                    key: signature
                    for key, signature in loaded.signature_def.items()
                    if not key.startswith("__")  # __saved_model_init_op
                }
                self._alone = {
                    key: {
                        alias: graph.get_tensor_by_name(info.name)
                        for alias, info in signature.outputs.items()
                    }
                    for key, signature in self.signatures.items()
                }
                self._batched = {
                    key: _batched(f"{name}/{key}", self.signatures[key], outputs, batching)
                    for key, outputs in self._alone.items()
                    if batching is not None
                }
        except BaseException:
            self._session.close()
            raise
        self._calls: dict[tuple[bool, str, tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        """The outputs, in order.

        Args:
          signature: its name, one of `signatures`.
          inputs: all of the signature's, by alias.
          outputs: aliases of what to compute.

        Raises:
          ServingError: TensorFlow refused the inputs, or the queue is full.
        """
        rows = [inputs[alias] for alias in sorted(self.signatures[signature].inputs)]
        # The scheduler answers nothing with nothing: without its shape.
        batched = self._batched.get(signature) is not None and all(len(array) for array in rows)
        try:
            return self._call(batched, signature, tuple(outputs))(*rows)
        except tf.errors.InvalidArgumentError as error:
            if not batched:
                raise of_tensorflow(error) from None
        except tf.errors.OpError as error:
            raise of_tensorflow(error) from None
        # Somebody's rows are wrong, and all in the batch were refused: each alone, then.
        try:
            return self._call(False, signature, tuple(outputs))(*rows)
        except tf.errors.OpError as error:
            raise of_tensorflow(error) from None

    def close(self) -> None:
        self._session.close()

    def _call(
        self, batched: bool, signature: str, outputs: tuple[str, ...]
    ) -> Callable[..., list[np.ndarray]]:
        key = (batched, signature, outputs)
        with self._lock:
            if key not in self._calls:
                graph, definition = self._session.graph, self.signatures[signature]
                feeds = [
                    graph.get_tensor_by_name(definition.inputs[alias].name)
                    for alias in sorted(definition.inputs)
                ]
                tensors = (self._batched if batched else self._alone)[signature]
                assert tensors is not None
                self._calls[key] = self._session.make_callable([tensors[o] for o in outputs], feeds)
            return self._calls[key]


def _batched(
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    outputs: Mapping[str, tf.Tensor],
    batching: Batching,
) -> dict[str, tf.Tensor] | None:
    """The outputs behind TensorFlow's batch scheduler, the one of TensorFlow Serving.

    Its operation takes the function that the signature calls. None where there is no single such
    function, or where rows of different requests cannot be joined.
    """
    calls = {tensor.op for tensor in outputs.values()}
    if len(calls) != 1 or not _rows_can_be_joined(signature):
        return None
    (call,) = calls
    names = {info.name for info in signature.inputs.values()}
    rows = [tensor for tensor in call.inputs if tensor.name in names]
    captured = [tensor for tensor in call.inputs if tensor.name not in names]
    rows_first = [tensor.name for tensor in call.inputs][: len(rows)] == [t.name for t in rows]
    if call.type not in _CALLS or not rows_first or len(rows) != len(names):
        return None
    results = tf.raw_ops.BatchFunction(
        in_tensors=rows,
        captured_tensors=captured,
        f=call.get_attr("f"),
        num_batch_threads=batching.threads,
        max_batch_size=batching.max_rows,
        batch_timeout_micros=batching.wait_us,
        max_enqueued_batches=batching.max_batches,
        enable_large_batch_splitting=True,
        Tout=call.get_attr("Tout"),
        shared_name=name,
        batching_queue=name,
    )
    return {alias: results[tensor.value_index] for alias, tensor in outputs.items()}


def _rows_can_be_joined(signature: meta_graph_pb2.SignatureDef) -> bool:
    """Whether requests differ in their number of rows only."""
    infos = [*signature.inputs.values(), *signature.outputs.values()]
    shapes = [info.tensor_shape for info in infos]
    return bool(signature.inputs) and all(
        not shape.unknown_rank
        and shape.dim
        and shape.dim[0].size == -1
        and all(dimension.size != -1 for dimension in shape.dim[1:])
        for shape in shapes
    )
