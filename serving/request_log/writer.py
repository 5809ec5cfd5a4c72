"""Writes predictions as lines of JSON: durable within a second, an hour a file, never in the way.

The file of the current hour is hidden and not compressed, so that whatever is synced is readable
after a crash. At the end of the hour, or when the next server starts, it is cut to whole lines,
compressed, and renamed to where readers look.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import gzip
import json
import logging
import os
import queue
import random
import shutil
import threading
import time
import uuid
from pathlib import Path
from typing import IO, Any, Protocol

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2

from base.atomic_files import whole_file
from base.foreign_json import ForeignError, parse
from base.locks import try_lock
from base.shared_names import OPEN_HOUR_PREFIX

_log = logging.getLogger(__name__)
_SYNC_SECONDS, _LOOK_SECONDS = 0.5, 0.1
_WAITING, _WAITING_BYTES = 1000, 64 << 20  # then requests are dropped
_MOST_CONTEXT = 64 << 10


class _Call(Protocol):
    @property
    def request_id(self) -> str: ...
    @property
    def context(self) -> str: ...


class RequestLog:
    """A log below `folder`, by one process.

    Args:
      folder: gets {YYYY}-{MM}-{DD}/{HH}/*.json.gz.
      rate: share of the requests to log.
      user, item: features of a tf.Example.
      seed: of the sampling.

    Attributes:
      dropped: requests that were to be logged and were not.
    """

    def __init__(self, folder: Path, *, rate: float, user: str, item: str, seed: int | None = None):
        self.folder, self.rate, self.dropped = folder, rate, 0
        self._user, self._item = user, item
        self._random = random.Random(seed)  # noqa: S311 - a sample
        self._waiting: queue.Queue[_Entry] = queue.Queue(_WAITING)
        self._waiting_bytes = 0
        self._counting = threading.Lock()  # of what waits, and of what was dropped
        self._stopping = threading.Event()
        self._file: IO[bytes] | None = None
        self._hour = ""
        self._synced, self._unsynced = time.monotonic(), 0  # lines
        self._problem = ""
        folder.mkdir(parents=True, exist_ok=True)
        close_left_open(folder)
        self._thread = threading.Thread(target=self._write, name="request log", daemon=True)
        self._thread.start()

    def add(
        self,
        call: _Call,
        request: predict_pb2.PredictRequest,
        response: predict_pb2.PredictResponse,
    ) -> None:
        """Takes it, or drops it; at once in either case."""
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
        """Writes what waits, and closes the hour."""
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        while not (self._stopping.is_set() and self._waiting.empty()):
            try:
                self._write_next()
                self._problem = ""
            except Exception as error:  # a full disk, say: serving goes on
                if str(error) != self._problem:  # once, not ten times a second
                    _log.exception("the request log cannot be written")
                self._problem = str(error)
                self._stopping.wait(_LOOK_SECONDS)
        try:
            self._close_hour()
        except Exception:
            _log.exception("the last hour of the request log is not closed; the next start will")

    def _write_next(self) -> None:
        """A request if one waits; then what is due: a sync, the end of an hour."""
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
        # What waited over the end of an hour goes to the hour it is written in.
        if self._file is None or hour > self._hour:
            self._close_hour()
            self._file, self._hour = _open_locked(self.folder, hour), hour
        try:
            line = json.dumps(
                line_of(
                    entry.when, entry.call, entry.request, entry.response, self._user, self._item
                )
            )
        except Exception:  # it is this request's fault: the next one need not wait
            self.dropped += 1
            _log.exception("a request cannot be logged")
            return
        self._file.write(line.encode() + b"\n")
        self._unsynced += 1

    def _sync(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced, self._unsynced = time.monotonic(), 0

    def _close_hour(self) -> None:
        """Locked until it is where readers look."""
        if self._file is not None:
            file, self._file = self._file, None
            unsynced, self._unsynced = self._unsynced, 0
            try:
                file.flush()
                unsynced = 0  # what is in the file can be closed by the next start
                close_file(Path(file.name))
            finally:
                self.dropped += unsynced
                with contextlib.suppress(OSError):  # it would write its buffer once more
                    file.close()
        self._synced, self._unsynced = time.monotonic(), 0


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A request that waits to be written."""

    when: float
    size: int
    call: _Call
    request: predict_pb2.PredictRequest
    response: predict_pb2.PredictResponse


def _open_locked(folder: Path, hour: str) -> IO[bytes]:
    """Returns a new open file, which no starting server takes for one that a crash left."""
    while True:
        path = folder / f"{OPEN_HOUR_PREFIX}{hour.replace('/', '-')}-{uuid.uuid4().hex}.json"
        file = path.open("wb")
        if try_lock(file) and path.exists():
            return file
        file.close()  # a server that has started since takes it for left open, and removes it


def _hour_of(when: float) -> str:
    return dt.datetime.fromtimestamp(when, dt.timezone.utc).strftime("%Y-%m-%d/%H")


def line_of(
    when: float,
    call: _Call,
    request: predict_pb2.PredictRequest,
    response: predict_pb2.PredictResponse,
    user: str,
    item: str,
) -> dict[str, Any]:
    """A prediction as it is logged; features as they came, with user and items beside them."""
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
    numbers = [array for array in outputs.values() if array.dtype != object]  # the rest is texts
    line["scores"] = numbers[0].reshape(-1).tolist() if numbers else []
    serialized = _serialized_examples(request)
    examples = _parsed(serialized)
    if serialized is None or examples is None:
        line["inputs"] = base64.b64encode(request.SerializeToString()).decode("ascii")
        return line
    line["user_id"] = first_value(examples[0], user) if examples else None
    line["item_id"] = [first_value(example, item) for example in examples]
    line["examples"] = [base64.b64encode(one).decode("ascii") for one in serialized]
    return line


def _serialized_examples(request: predict_pb2.PredictRequest) -> list[bytes] | None:
    """Of a signature whose only input they are."""
    if len(request.inputs) != 1:
        return None
    (proto,) = request.inputs.values()
    if proto.dtype != tf.string.as_datatype_enum or len(proto.tensor_shape.dim) != 1:
        return None
    try:
        return list(tf.make_ndarray(proto))
    except ValueError:  # more values than its shape has, which TensorFlow Serving takes as well
        return None


def _parsed(serialized: list[bytes] | None) -> list[tf.train.Example] | None:
    """None where protobuf refuses what TensorFlow's own parser took: a name that is no UTF-8."""
    try:
        return [tf.train.Example.FromString(one) for one in serialized or ()]
    except (DecodeError, UnicodeDecodeError):
        return None


def first_value(example: tf.train.Example, name: str) -> Any:
    """Of a feature, bytes as text; None where there is none."""
    feature = example.features.feature.get(name)  # does not add it, as [] would
    kind = feature.WhichOneof("kind") if feature is not None else None
    values = getattr(feature, kind).value if kind else []
    value = values[0] if values else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _context(text: str) -> Any:
    """What a client sent along, if that is JSON that others can read; else its text."""
    try:
        return parse(text, max_bytes=_MOST_CONTEXT) if text else None
    except ForeignError:
        return _clean(text)


def _clean(text: str) -> str:
    """Without halves of characters, as a header's bytes that are no UTF-8 become; not too long."""
    return text[:_MOST_CONTEXT].encode("utf-8", "replace").decode("utf-8")


def close_left_open(folder: Path) -> list[Path]:
    """Closes the files that crashed servers have left; returns where they are now."""
    closed = []
    for path in sorted(folder.glob(f"{OPEN_HOUR_PREFIX}*.json")):
        try:
            with path.open("r+b") as file:  # NFS locks what is open for writing only
                is_left = try_lock(file) and path.exists()  # a server that runs has the others
                if is_left and (target := close_file(path)):
                    closed.append(target)
        except FileNotFoundError:
            continue  # a server has just closed it
    return closed


def close_file(path: Path) -> Path | None:
    """Compresses an open file to where readers look.

    Returns:
      The path of the compressed file; None if the open file held no whole line.
    """
    content_ends = _end_of_last_line(path)
    if not content_ends:
        path.unlink()
        return None
    target = closed_name(path)
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


def closed_name(path: Path) -> Path | None:
    """Returns where an open file is once its hour is over; None for another file."""
    parts = path.name.removeprefix(OPEN_HOUR_PREFIX).removesuffix(".json").split("-")
    if not path.name.startswith(OPEN_HOUR_PREFIX) or len(parts) != 5:
        return None
    year, month, day, hour, unique = parts
    return path.parent / f"{year}-{month}-{day}" / hour / f"{unique}.json.gz"


def _end_of_last_line(path: Path) -> int:
    """Bytes up to the last line feed."""
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
