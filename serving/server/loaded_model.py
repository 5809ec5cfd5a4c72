"""A version in memory: a session, as TensorFlow Serving has it, with TensorFlow's own batching."""

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
from serving.server.errors import ServingError, invalid, of_tensorflow

_log = logging.getLogger(__name__)
DEFAULT_SIGNATURE = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
_CALLS = ("StatefulPartitionedCall", "PartitionedCall")  # how a signature calls its function
_FUNCTION_TAG = re.compile(r"\{\{function_node [^}]*\}\}\s*")  # session.run takes them out itself
_UNSUPPORTED = (
    "Unsupported object type"  # an element of a string tensor that is neither str nor bytes
)
_NICER, _NICEST = 10, 19  # a tenth of the share of others, where they want the core too
_Call = Callable[..., Sequence[np.ndarray]]


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


@dataclasses.dataclass(frozen=True)
class _Input:
    """An input as the signature has it.

    Attributes:
      alias: Its name.
      type_name: TensorFlow's name of its type.
      dtype: numpy's type; None for text.
      sizes: Of its dimensions, None for any; None for any shape.
    """

    alias: str
    type_name: str
    dtype: np.dtype | None
    sizes: tuple[int | None, ...] | None


class LoadedModel:
    """A SavedModel in a session of its own.

    A request that is alone in the model is computed as it is. One that meets others goes through
    TensorFlow's batch scheduler, which joins what waits and refuses what its queue cannot hold.

    Args:
      path: folder of the version.
      name: unique in the process; names its queue.
      batching: None to compute each request alone.
      give_way: Whether other versions are serving: it takes longer to be ready then, so that their
        requests keep the cores.

    Attributes:
      signatures: Name -> signature.
      writing: Names of the signatures that change variables, tables or files.
    """

    def __init__(self, path: Path, name: str, batching: Batching | None, give_way: bool = False):
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
            with ThreadPoolExecutor(1, "compile", _give_way if give_way else None) as compiling:
                self._calls = compiling.submit(self._compiled).result()
        except BaseException:
            self._session.close()
            raise
        self._forced: bool | None = None  # through the scheduler or not; None: as requests come
        self._running = 0
        self._lock = threading.Lock()  # of the number of running requests

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        """The outputs, in order; for any number of threads.

        Args:
          signature: its name, one of `signatures`.
          inputs: all of the signature's, by alias, of its types: nothing is cast. Whether a shape
            will do is for the graph to say, as in TensorFlow Serving.
          outputs: aliases of what to compute.

        Raises:
          ServingError: an input is of another type, TensorFlow refused the inputs, or the queue is
            full.
        """
        wanted = self._inputs[signature]
        rows = [_checked(one, inputs[one.alias]) for one in wanted]
        # Of an empty request the scheduler returns no shape. Rows of another shape than the
        # signature's may mix with those of others: two columns and two rows are a table of 2 x 2.
        joinable = (True, signature) in self._calls and all(
            _fits(one, array) and len(array) for one, array in zip(wanted, rows, strict=True)
        )
        with self._counted() as is_alone:
            found = self._compute(joinable and not is_alone, signature, rows)
        by_alias = dict(zip(sorted(self._alone[signature]), found, strict=True))
        return [by_alias[alias] for alias in outputs]

    @contextlib.contextmanager
    def warming_up(self, batched: bool) -> Iterator[None]:
        """While it lasts, it is not the number of requests that says how they are computed.

        Either way compiles for itself, when it is first gone. So both are gone before users come.

        Args:
          batched: Through the scheduler where that can be; else each request alone.
        """
        self._forced = batched
        try:
            yield
        finally:
            self._forced = None

    def close(self) -> None:
        """Frees the model. No request may be running."""
        self._calls.clear()  # a call that outlives its session is not released
        self._session.close()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[bool]:
        """Counts a request while it is computed or waits; yields whether there is no other."""
        with self._lock:
            self._running += 1
            is_alone = self._running == 1
        try:
            yield is_alone if self._forced is None else not self._forced
        finally:
            with self._lock:
                self._running -= 1

    def _compute(
        self, batched: bool, signature: str, rows: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """All outputs, in the order of their aliases."""
        try:
            return self._calls[batched, signature](*rows)
        except tf.errors.InvalidArgumentError as error:
            if not batched:
                raise _refusal(error) from None
        except tf.errors.OpError as error:
            raise _refusal(error) from None
        # Somebody's rows are wrong, and all in the batch were refused.
        return self._compute(False, signature, rows)

    def _compiled(self) -> dict[tuple[bool, str], _Call]:
        """Whether through the scheduler, signature -> what computes all of its outputs.

        Made once: a call for each subset of outputs that a client thinks of would never be freed.
        """
        return {
            (batched, key): self._call(key, outputs)
            for batched, group in ((False, self._alone), (True, self._batched))
            for key, outputs in group.items()
            if outputs is not None
        }

    def _call(self, signature: str, outputs: Mapping[str, tf.Tensor]) -> _Call:
        """From inputs to outputs, both in the order of their aliases."""
        inputs = self.signatures[signature].inputs
        feeds = [self._session.graph.get_tensor_by_name(inputs[a].name) for a in sorted(inputs)]
        return _session_call(self._session, feeds, [outputs[alias] for alias in sorted(outputs)])


def _give_way() -> None:
    """Lowers this thread's priority, for good: who is not root cannot raise it again.

    Compiling takes a core for seconds, in which the requests to other versions would wait. Python's
    lock is free meanwhile. Threads that this one starts inherit the priority, so it computes
    nothing: TensorFlow starts its threads with the session, and the scheduler's with a first batch.
    """
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(now + _NICER, _NICEST))


def _session_call(
    session: tf.compat.v1.Session, feeds: Sequence[tf.Tensor], fetches: Sequence[tf.Tensor]
) -> _Call:
    """A function of arrays that are fed to arrays that are fetched.

    `make_callable` with feeds is `session.run`: it looks at every feed in Python, which takes as
    long as the network where there are fifty of them. TensorFlow's callables look at nothing, which
    is why `_checked` does.
    """
    names = [tensor.name for tensor in feeds]
    fetched = [tensor.name for tensor in fetches]
    # A tensor that is fed twice, or both fed and fetched, is known to session.run only.
    is_plain = len(set(names)) == len(names) and not set(names) & set(fetched)
    if is_plain and _has_callables():
        options = config_pb2.CallableOptions(feed=names, fetch=fetched)
        return cast(_Call, session._make_callable_from_options(options))
    return cast(_Call, session.make_callable([*fetches], [*feeds]))


@functools.cache
def _has_callables() -> bool:
    """Whether this TensorFlow's private `_make_callable_from_options` does what it did so far."""
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
            as_before = numbers.tolist() == [2.0, 3.0] and texts.tolist() == [b"ab"]
            del call
        except Exception as error:  # whatever another TensorFlow makes of it
            _log.warning("session.run is used, which is slower: %s", error)
            return False
    if not as_before:
        _log.warning("session.run is used, which is slower: a callable answers otherwise")
    return bool(as_before)


def _inputs(signature: meta_graph_pb2.SignatureDef) -> list[_Input]:
    """In the order of their aliases."""
    found = []
    for alias, info in sorted(signature.inputs.items()):
        shape = info.tensor_shape
        sizes = tuple(None if one.size == -1 else one.size for one in shape.dim)
        dtype = tf.as_dtype(info.dtype)
        numbers = None if dtype == tf.string else np.dtype(dtype.as_numpy_dtype)
        found.append(_Input(alias, dtype.name, numbers, None if shape.unknown_rank else sizes))
    return found


def _checked(wanted: _Input, given: np.ndarray) -> np.ndarray:
    """An array that may be fed. A callable would take bytes in another order for other numbers."""
    array = np.asarray(given)
    fits = array.dtype.kind in "OSU" if wanted.dtype is None else array.dtype == wanted.dtype
    if not fits:
        raise invalid(
            f'input "{wanted.alias}" is an array of {array.dtype.str}, but the signature expects '
            f"{wanted.type_name}"
        )
    return array


def _fits(wanted: _Input, array: np.ndarray) -> bool:
    """Whether an array has the shape that the signature expects, which TensorFlow does not ask."""
    sizes = wanted.sizes
    return (
        sizes is not None
        and len(sizes) == array.ndim
        and all(size in (None, found) for size, found in zip(sizes, array.shape, strict=True))
    )


def _refusal(error: tf.errors.OpError) -> ServingError:
    """The error of a callable, with the words that session.run has for it."""
    if isinstance(error, tf.errors.InternalError) and _UNSUPPORTED in error.message:
        return invalid(f"a string tensor holds neither str nor bytes: {error.message}")
    found = of_tensorflow(error)
    return ServingError(found.code, _FUNCTION_TAG.sub("", found.message))


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
