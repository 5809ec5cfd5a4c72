"""A version in memory: a session, as TensorFlow Serving has it, with TensorFlow's own batching."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.errors import of_tensorflow

DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
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
        # Made once: a call for each subset of outputs that a client thinks of would never be freed.
        self._calls = {
            (batched, key): self._callable(key, outputs)
            for batched, group in ((False, self._alone), (True, self._batched))
            for key, outputs in group.items()
            if outputs is not None
        }

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
        batched = (True, signature) in self._calls and all(len(array) for array in rows)
        try:
            found = self._calls[batched, signature](*rows)
        except tf.errors.InvalidArgumentError as error:
            if not batched:
                raise of_tensorflow(error) from None
            found = self._alone_after_all(signature, rows)
        except tf.errors.OpError as error:
            raise of_tensorflow(error) from None
        by_alias = dict(zip(sorted(self._alone[signature]), found, strict=True))
        return [by_alias[alias] for alias in outputs]

    def close(self) -> None:
        self._session.close()

    def _alone_after_all(self, signature: str, rows: list[np.ndarray]) -> list[np.ndarray]:
        """Somebody's rows are wrong, and all in the batch were refused."""
        try:
            return self._calls[False, signature](*rows)
        except tf.errors.OpError as error:
            raise of_tensorflow(error) from None

    def _callable(
        self, signature: str, outputs: Mapping[str, tf.Tensor]
    ) -> Callable[..., list[np.ndarray]]:
        """From inputs to outputs, both in the order of their aliases."""
        inputs = self.signatures[signature].inputs
        feeds = [self._session.graph.get_tensor_by_name(inputs[a].name) for a in sorted(inputs)]
        fetches = [outputs[alias] for alias in sorted(outputs)]
        return cast("Callable[..., list[np.ndarray]]", self._session.make_callable(fetches, feeds))


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
