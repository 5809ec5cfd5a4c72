"""Writes predictions as lines of JSON, one file per hour, without blocking the server.

The file of the current hour is hidden and uncompressed, so that synced lines are readable after a
crash. When the hour ends or the next server starts, the file is cut to whole lines, compressed and
renamed to its final path. Lines are durable within a second.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import gzip
import json
import logging
import math
import os
import queue
import random
import shutil
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from base.atomic_files import whole_file
from base.foreign_json import ForeignError, parse
from base.locks import try_lock
from base.model_outputs import DECISION, score_outputs
from base.shared_names import OPEN_HOUR_PREFIX

_log = logging.getLogger(__name__)
_SYNC_SECONDS, _LOOK_SECONDS = 0.5, 0.1
_WAITING, _WAITING_BYTES = 1000, 64 << 20  # requests beyond either limit are dropped
_MOST_CONTEXT = 64 << 10


class _Call(Protocol):
    @property
    def request_id(self) -> str: ...
    @property
    def context(self) -> str: ...


class RequestLog:
    """Logs the predictions of one process.

    Args:
      folder: Root folder of the files {YYYY}-{MM}-{DD}/{HH}/*.json.gz.
      rate: Share of the requests to log, between 0 and 1.
      keys: Names of the tf.Example features whose values are logged as plain text.
      seed: Seed of the sampling.

    Attributes:
      dropped: Number of sampled requests that could not be logged.
      problem: Reason why the log cannot be written at present; empty if it can.
    """

    def __init__(
        self, folder: Path, *, rate: float, keys: Sequence[str] = (), seed: int | None = None
    ):
        self.folder, self.rate, self.dropped = folder, rate, 0
        self._keys = tuple(keys)
        self._random = random.Random(seed)  # noqa: S311 - a sample
        self._waiting: queue.Queue[_Entry] = queue.Queue(_WAITING)
        self._waiting_bytes = 0
        self._counting = threading.Lock()  # guards _waiting_bytes and dropped
        self._stopping = threading.Event()
        self._file: IO[bytes] | None = None
        self._hour = ""
        self._synced, self._unsynced = time.monotonic(), 0  # time of the last sync; lines since
        self.problem = ""
        folder.mkdir(parents=True, exist_ok=True)
        close_abandoned_files(folder)
        self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self._thread.start()

    def add(
        self,
        call: _Call,
        request: predict_pb2.PredictRequest,
        response: predict_pb2.PredictResponse,
    ) -> None:
        """Queues a sampled request for writing, or drops it if the queue is full. Never blocks."""
        if self.rate < 1 and self._random.random() >= self.rate:
            return
        size = request.ByteSize() + response.ByteSize()
        with self._counting:
            try:
                if self._waiting_bytes + size > _WAITING_BYTES:
                    raise queue.Full
                self._waiting.put_nowait(_Entry(time.time(), size, call, request, response))
                self._waiting_bytes += size
            except queue.Full:
                self.dropped += 1

    def close(self) -> None:
        """Writes the queued requests and closes the current hour."""
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        while not (self._stopping.is_set() and self._waiting.empty()):
            try:
                self._write_next()
                self.problem = ""
            except Exception as error:  # such as a full disk; the server must go on
                if str(error) != self.problem:  # report each problem once
                    _log.exception("the request log cannot be written")
                self.problem = str(error)
                self._stopping.wait(_LOOK_SECONDS)
        try:
            self._close_hour()
        except Exception:
            _log.exception("cannot close the last hour of the request log; the next start will")

    def _write_next(self) -> None:
        """Writes the next request, if any. Then closes an hour or syncs, whichever is due."""
        try:
            entry = self._waiting.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            if self._file is not None and _hour_of(time.time()) > self._hour:
                self._close_hour()
        else:
            with self._counting:
                self._waiting_bytes -= entry.size
            try:
                self._append(entry)
            except Exception:
                self.dropped += 1
                raise
        if self._unsynced and time.monotonic() - self._synced >= _SYNC_SECONDS:
            self._sync()

    def _append(self, entry: _Entry) -> None:
        hour = _hour_of(entry.when)
        # A request that waited past the end of its hour goes to the hour in which it is written.
        if self._file is None or hour > self._hour:
            self._close_hour()
            self._file, self._hour = _open_locked(self.folder, hour), hour
        try:
            line = json.dumps(
                log_line(entry.when, entry.call, entry.request, entry.response, self._keys),
                allow_nan=False,
            )
        except Exception:  # the fault of this request: do not delay the next one
            self.dropped += 1
            _log.exception("cannot log a request")
            return
        self._file.write(line.encode() + b"\n")
        self._unsynced += 1

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced, self._unsynced = time.monotonic(), 0

    def _close_hour(self) -> None:
        """Moves the open file to its final path. The file stays locked until then."""
        if self._file is not None:
            file, self._file = self._file, None
            unsynced, self._unsynced = self._unsynced, 0
            try:
                file.flush()
                unsynced = 0  # the next start can close what is in the file
                close_file(Path(file.name))
            finally:
                self.dropped += unsynced
                with contextlib.suppress(OSError):  # close() tries to write the buffer again
                    file.close()
        self._synced, self._unsynced = time.monotonic(), 0


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A queued request; `when` is in seconds since the epoch, `size` in bytes."""

    when: float
    size: int
    call: _Call
    request: predict_pb2.PredictRequest
    response: predict_pb2.PredictResponse


def _open_locked(folder: Path, hour: str) -> IO[bytes]:
    """Opens and locks a new file, so that a starting server does not take it for abandoned."""
    while True:
        path = folder / f"{OPEN_HOUR_PREFIX}{hour.replace('/', '-')}-{uuid.uuid4().hex}.json"
        file = path.open("wb")
        if try_lock(file) and path.exists():
            return file
        file.close()  # a starting server got the lock first and removes the file


def _hour_of(when: float) -> str:
    return dt.datetime.fromtimestamp(when, dt.timezone.utc).strftime("%Y-%m-%d/%H")


def log_line(
    when: float,
    call: _Call,
    request: predict_pb2.PredictRequest,
    response: predict_pb2.PredictResponse,
    keys: Sequence[str],
) -> dict[str, Any]:
    """Returns the log line of a prediction: the unchanged request, and its keys.

    A key or score that is NaN or infinite is None there, as JSON has no such number.
    """
    spec = response.model_spec
    line: dict[str, Any] = {
        "request_id": _clean(call.request_id) or uuid.uuid4().hex,
        "timestamp_ms": int(when * 1000),
        "model": spec.name,
        "version": spec.version.value,
        "label": request.model_spec.version_label,
        "signature": spec.signature_name,
        "context": _context(call.context),
    }
    outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    numbers = [n for n in score_outputs(outputs) if outputs[n].dtype != object]  # without strings
    scores = outputs[numbers[0]].reshape(-1).tolist() if numbers else []
    line["scores"] = [_finite(one) for one in scores]
    if DECISION in outputs:
        line["decisions"] = outputs[DECISION].reshape(-1).tolist()
    serialized = _serialized_examples(request)
    examples = _parsed(serialized)
    if serialized is None or examples is None:
        line["inputs"] = base64.b64encode(request.SerializeToString()).decode("ascii")
        return line
    line["keys"] = {
        key: [_finite(first_value(example, key)) for example in examples] for key in keys
    }
    line["examples"] = [base64.b64encode(one).decode("ascii") for one in serialized]
    return line


def _serialized_examples(request: predict_pb2.PredictRequest) -> list[bytes] | None:
    """Returns the examples of a request that has no other input, else None."""
    if len(request.inputs) != 1:
        return None
    (proto,) = request.inputs.values()
    if proto.dtype != tf.string.as_datatype_enum or len(proto.tensor_shape.dim) != 1:
        return None
    try:
        return list(tf.make_ndarray(proto))
    except ValueError:  # more values than the shape has, which TensorFlow Serving also accepts
        return None


def _parsed(serialized: list[bytes] | None) -> list[tf.train.Example] | None:
    """Parses examples. Returns None if a name is not UTF-8, which only TensorFlow accepts."""
    try:
        return [tf.train.Example.FromString(one) for one in serialized or ()]
    except (DecodeError, UnicodeDecodeError):
        return None


def first_value(example: tf.train.Example, name: str) -> Any:
    """Returns the first value of a feature, bytes decoded as text; None if it is missing."""
    feature = example.features.feature.get(name)  # [] would add it
    kind = feature.WhichOneof("kind") if feature is not None else None
    values = getattr(feature, kind).value if kind else []
    value = values[0] if values else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _finite(value: Any) -> Any:
    """Returns a value, or None for a number that is NaN or infinite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _context(text: str) -> Any:
    """Returns the client's context as JSON if it is valid, else as text."""
    try:
        return parse(text, max_bytes=_MOST_CONTEXT) if text else None
    except ForeignError:
        return _clean(text)


def _clean(text: str) -> str:
    """Returns a header without lone surrogates (from bytes that are not UTF-8), cut to size."""
    return text[:_MOST_CONTEXT].encode("utf-8", "replace").decode("utf-8")


def close_abandoned_files(folder: Path) -> list[Path]:
    """Closes the files that crashed servers left open and returns their new paths."""
    closed = []
    for path in sorted(folder.glob(f"{OPEN_HOUR_PREFIX}*.json")):
        try:
            with path.open("r+b") as file:  # NFS only locks files that are open for writing
                is_abandoned = try_lock(file) and path.exists()  # running servers hold the lock
                if is_abandoned and (target := close_file(path)):
                    closed.append(target)
        except FileNotFoundError:
            continue  # another server has just closed it
    return closed


def close_file(path: Path) -> Path | None:
    """Compresses an open file to its final path.

    Returns:
      The path of the compressed file; None if the open file had no complete line.
    """
    content_ends = _end_of_last_line(path)
    if not content_ends:
        path.unlink()
        return None
    target = closed_path(path)
    assert target is not None
    with (
        path.open("r+b") as lines,
        whole_file(target, durable=True) as partial,
        partial.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, filename="") as compressed,
    ):
        lines.truncate(content_ends)
        shutil.copyfileobj(lines, compressed, 1 << 20)
    path.unlink()
    return target


def closed_path(path: Path) -> Path | None:
    """Returns the final path of an open file; None if the name is not that of an open file."""
    parts = path.name.removeprefix(OPEN_HOUR_PREFIX).removesuffix(".json").split("-")
    if not path.name.startswith(OPEN_HOUR_PREFIX) or len(parts) != 5:
        return None
    year, month, day, hour, unique = parts
    return path.parent / f"{year}-{month}-{day}" / hour / f"{unique}.json.gz"


def _end_of_last_line(path: Path) -> int:
    """Returns the number of bytes up to and including the last line feed."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - (1 << 20))
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0
