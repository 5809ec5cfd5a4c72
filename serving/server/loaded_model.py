"""A loaded version: a TensorFlow session with TensorFlow's own batch scheduler."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from components.model_canary.side_effects import signatures_that_write
from serving.server.errors import ServingError, from_tensorflow, invalid

_log = logging.getLogger(__name__)
DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
_CALL_OPS = ("StatefulPartitionedCall", "PartitionedCall")  # by which a signature calls a function
_FUNCTION_TAG = re.compile(r"\{\{function_node [^}]*\}\}\s*")  # session.run removes it, too
# TensorFlow's error for an element of a string tensor that is neither str nor bytes.
_UNSUPPORTED = "Unsupported object type"
# With a niceness of 10 more a thread gets a tenth of a contended core.
_ADDED_NICENESS, _MAX_NICENESS = 10, 19
_Call = Callable[..., Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Batching:
    """Parameters of the batch scheduler.

    Attributes:
      max_rows: Maximum rows of a batch. A larger request is split.
      threads: Number of batches computed at the same time.
      wait_us: Time a batch waits for more requests, in microseconds.
      max_batches: Maximum number of waiting batches. Requests beyond it are rejected.
    """

    max_rows: int = 1024
    threads: int = 2
    wait_us: int = 0
    max_batches: int = 64


@dataclasses.dataclass(frozen=True)
class _Input:
    """An input of a signature.

    Attributes:
      alias: Name of the input.
      type_name: TensorFlow's name of its type.
      dtype: numpy type; None for strings.
      sizes: Size of each dimension, None for any size; None for an unknown rank.
    """

    alias: str
    type_name: str
    dtype: np.dtype | None
    sizes: tuple[int | None, ...] | None


class LoadedModel:
    """A SavedModel in a session of its own.

    A single request is computed directly. Concurrent requests go through TensorFlow's batch
    scheduler, which joins waiting requests and rejects those that its queue cannot hold.

    Args:
      path: Folder of the version.
      name: Name of the batch queue, unique in the process.
      batching: Parameters of the scheduler; None to compute each request alone.
      low_priority: Whether to compile at a low priority, because other versions are serving.

    Attributes:
      signatures: Signatures by name.
      writing: Names of the signatures that change variables, tables or files.
      calls: Functions that compute all outputs of a signature, by (whether batched, signature).
      running: Number of requests that are computed or wait.
    """

    def __init__(
        self, path: Path, name: str, batching: Batching | None, low_priority: bool = False
    ):
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
            self.writing = signatures_that_write(loaded.graph_def, self.signatures)
            self._inputs = {key: _inputs(one) for key, one in self.signatures.items()}
            with ThreadPoolExecutor(
                1, "compile", _lower_priority if low_priority else None
            ) as compiling:
                self.calls = compiling.submit(self._compiled).result()
        except BaseException:
            self._session.close()
            raise
        self._forced: bool | None = None  # whether to batch; None: if there are concurrent requests
        self.running = 0
        self._lock = threading.Lock()  # guards `running`

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        """Returns the requested outputs, in order. Thread-safe.

        Args:
          signature: Name of a signature.
          inputs: All inputs of the signature by alias, of exactly its types. The graph checks the
            shapes, as in TensorFlow Serving.
          outputs: Aliases of the outputs to return.

        Raises:
          ServingError: An input is of another type, TensorFlow rejected the inputs, or the queue is
            full.
        """
        wanted = self._inputs[signature]
        rows = [_checked(one, inputs[one.alias]) for one in wanted]
        # The scheduler returns no shape for an empty request. Rows whose shape differs from the
        # signature could mix with the rows of other requests, as two columns and two rows would.
        joinable = (True, signature) in self.calls and all(
            _fits(one, array) and len(array) for one, array in zip(wanted, rows, strict=True)
        )
        with self._counted() as is_alone:
            found = self._compute(joinable and not is_alone, signature, rows)
        by_alias = dict(zip(sorted(self._alone[signature]), found, strict=True))
        return [by_alias[alias] for alias in outputs]

    @contextlib.contextmanager
    def warming_up(self, batched: bool) -> Iterator[None]:
        """Forces batching on or off, so that a warm-up compiles both ways of computing.

        Args:
          batched: Whether requests go through the scheduler, where the signature allows it.
        """
        self._forced = batched
        try:
            yield
        finally:
            self._forced = None

    def close(self) -> None:
        """Frees the model. No request may be running."""
        self.calls.clear()  # a callable that outlives its session is not released
        self._session.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[bool]:
        """Counts a request while it is computed, and yields whether to compute it alone."""
        with self._lock:
            self.running += 1
            is_alone = self.running == 1
        try:
            yield is_alone if self._forced is None else not self._forced
        finally:
            with self._lock:
                self.running -= 1

    def _compute(
        self, batched: bool, signature: str, rows: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """Returns all outputs, in the order of their aliases."""
        try:
            return self.calls[batched, signature](*rows)
        except tf.errors.InvalidArgumentError as error:
            if not batched:
                raise request_error(error) from None
        except tf.errors.OpError as error:
            raise request_error(error) from None
        # One request of the batch is wrong, and TensorFlow rejected all of them.
        return self._compute(False, signature, rows)

    def _compiled(self) -> dict[tuple[bool, str], _Call]:
        """Returns `calls`.

        There is no call per subset of outputs: clients choose subsets, and calls are never freed.
        """
        return {
            (batched, key): self._call(key, outputs)
            for batched, group in ((False, self._alone), (True, self._batched))
            for key, outputs in group.items()
            if outputs is not None
        }

    def _call(self, signature: str, outputs: Mapping[str, tf.Tensor]) -> _Call:
        """Returns a function from inputs to outputs, both in the order of their aliases."""
        inputs = self.signatures[signature].inputs
        feeds = [self._session.graph.get_tensor_by_name(inputs[a].name) for a in sorted(inputs)]
        return session_call(self._session, feeds, [outputs[alias] for alias in sorted(outputs)])


def _lower_priority() -> None:
    """Lowers the priority of this thread. Only root could raise it again.

    Compilation takes a core for seconds, which would delay the requests to other versions. Threads
    that this one starts inherit its priority, so it must not compute: TensorFlow starts its threads
    with the session, and those of the scheduler with the first batch.
    """
    if sys.platform == "linux":  # other systems have no priority per thread
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(now + _ADDED_NICENESS, _MAX_NICENESS))


def session_call(
    session: tf.compat.v1.Session, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]
) -> _Call:
    """Returns a function from arrays to feed to arrays that are fetched.

    `make_callable` with feeds is `session.run`, which checks every feed in Python. For fifty feeds
    this takes as long as the network. TensorFlow's callables check nothing, so `_checked` does.
    """
    names = [tensor.name for tensor in feeds]
    fetched = [tensor.name for tensor in fetches]
    # Only session.run supports a tensor that is fed twice, or both fed and fetched.
    is_plain = len(set(names)) == len(names) and not set(names) & set(fetched)
    if is_plain and has_callables():
        options = config_pb2.CallableOptions(feed=names, fetch=fetched)
        return cast(_Call, session._make_callable_from_options(options))
    return cast(_Call, session.make_callable([*fetches], [*feeds]))


@functools.cache
def has_callables() -> bool:
    """Checks that TensorFlow's private `_make_callable_from_options` works as expected."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        text, number = tf.compat.v1.placeholder(tf.string), tf.compat.v1.placeholder(tf.float32)
        fetches = [number + 1, tf.strings.join([text, "b"])]
        options = config_pb2.CallableOptions(
            feed=[text.name, number.name], fetch=[tensor.name for tensor in fetches]
        )
        given = np.array([b"a"], object), np.array([1.0, 2.0], np.float32)
        try:
            call = session._make_callable_from_options(options)
            numbers, texts = call(*given)
            is_as_expected = numbers.tolist() == [2.0, 3.0] and texts.tolist() == [b"ab"]
            del call
        except Exception as error:  # depends on the version of TensorFlow
            _log.warning("falling back to session.run, which is slower: %s", error)
            return False
    if not is_as_expected:
        _log.warning("falling back to session.run, which is slower: a callable's result differs")
    return bool(is_as_expected)


def _inputs(signature: meta_graph_pb2.SignatureDef) -> list[_Input]:
    """Returns the inputs of a signature, in the order of their aliases."""
    found = []
    for alias, info in sorted(signature.inputs.items()):
        shape = info.tensor_shape
        sizes = tuple(None if one.size == -1 else one.size for one in shape.dim)
        dtype = tf.as_dtype(info.dtype)
        numbers = None if dtype == tf.string else np.dtype(dtype.as_numpy_dtype)
        found.append(_Input(alias, dtype.name, numbers, None if shape.unknown_rank else sizes))
    return found


def _checked(wanted: _Input, given: np.ndarray) -> np.ndarray:
    """Returns an array of exactly the input's type. A callable would misread other byte orders."""
    array = np.asarray(given)
    fits = array.dtype.kind in "OSU" if wanted.dtype is None else array.dtype == wanted.dtype
    if not fits:
        raise invalid(
            f'input "{wanted.alias}" is an array of {array.dtype.str}, but the signature expects '
            f"{wanted.type_name}"
        )
    return array


def _fits(wanted: _Input, array: np.ndarray) -> bool:
    """Checks for the signature's shape, which TensorFlow does not check."""
    sizes = wanted.sizes
    return (
        sizes is not None
        and len(sizes) == array.ndim
        and all(size in (None, found) for size, found in zip(sizes, array.shape, strict=True))
    )


def request_error(error: tf.errors.OpError) -> ServingError:
    """Converts the error of a callable, with the text that session.run would give it."""
    if isinstance(error, tf.errors.InternalError) and _UNSUPPORTED in error.message:
        return invalid(f"a string tensor holds neither str nor bytes: {error.message}")
    found = from_tensorflow(error)
    return ServingError(found.code, _FUNCTION_TAG.sub("", found.message))


def _batched(
    name: str,
    signature: meta_graph_pb2.SignatureDef,
    outputs: Mapping[str, tf.Tensor],
    batching: Batching,
) -> dict[str, tf.Tensor] | None:
    """Returns the outputs as computed by TensorFlow's batch scheduler.

    The scheduler's operation takes the function that the signature calls. Returns None if there is
    no single such function, or if rows of different requests cannot be joined.
    """
    calls = {tensor.op for tensor in outputs.values()}
    if len(calls) != 1 or not _rows_can_be_joined(signature):
        return None
    (call,) = calls
    names = {info.name for info in signature.inputs.values()}
    rows = [tensor for tensor in call.inputs if tensor.name in names]
    captured = [tensor for tensor in call.inputs if tensor.name not in names]
    rows_first = [tensor.name for tensor in call.inputs][: len(rows)] == [t.name for t in rows]
    if call.type not in _CALL_OPS or not rows_first or len(rows) != len(names):
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
    """Checks that requests can only differ in their number of rows."""
    infos = [*signature.inputs.values(), *signature.outputs.values()]
    shapes = [info.tensor_shape for info in infos]
    return bool(signature.inputs) and all(
        not shape.unknown_rank
        and shape.dim
        and shape.dim[0].size == -1
        and all(dimension.size != -1 for dimension in shape.dim[1:])
        for shape in shapes
    )
