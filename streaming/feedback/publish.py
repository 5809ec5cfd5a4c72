"""Reads the request log as it grows, and publishes the events that it tells of.

Each call continues where the last one ended; a file stores that position. Events are sent before
the position is stored, so a crash sends some lines again under the same ids. Ingest removes these
duplicates, and every logged event counts once.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from base.atomic_files import write_json
from base.foreign_json import ForeignError, parse_object
from base.shared_names import OPEN_HOUR_PREFIX
from streaming.feedback.rejected import RejectedLines, RequestLineError
from streaming.feedback.sinks import Sink
from streaming.layout import read_json

_MAX_LINE_BYTES = 512 << 20  # twice the largest request
_SEND_EVENTS = 1_000  # events
_READ_TO_END = -1  # stored instead of a position

EventsOfRequest = Callable[[Mapping[str, Any], bytes | None], list[dict[str, Any]]]


class Feedback:
    """Publishes a request log to a sink.

    Args:
      log: Folder of the request log.
      cursor: File that stores how far the log was read. Rejected lines are stored beside it.
      sink: Receiver of the events.
      stream: Stream of the events.
      events_of_request: Function of the application: (line of the log, key) -> its events.
      key: Key that clients sign with; None without signatures.

    Attributes:
      rejected: Lines and events that could not be used.
    """

    def __init__(
        self,
        log: Path,
        cursor: Path,
        sink: Sink,
        stream: str,
        events_of_request: EventsOfRequest,
        key: bytes | None = None,
    ):
        self._folder, self._cursor, self._sink, self._key = log, cursor, sink, key
        self._stream, self._events_of_request = stream, events_of_request
        self.rejected = RejectedLines(cursor.with_name(f"{cursor.stem}-refused.jsonl"))
        self._read: dict[str, int] = read_json(cursor) if cursor.exists() else {}

    def publish(self) -> int:
        """Sends new events, and returns their number.

        Raises:
          ComponentError: The sink does not accept them.
        """
        files = self._files()
        self._read = {name: end for name, end in self._read.items() if name in files}
        sent = 0
        for name, path in files.items():
            if self._read.get(name) == _READ_TO_END:
                continue
            events: list[dict[str, Any]] = []
            end = self._read.get(name, 0)
            for line, end in self._new_lines(name, path):
                events += self._events_of(line, name, end - len(line))
                if len(events) >= _SEND_EVENTS:
                    sent += self._send(events, name, end)
                    events = []
            is_closed = path.suffix == ".gz" and path.exists()  # it does not change any more
            sent += self._send(events, name, _READ_TO_END if is_closed else end)
        return sent

    def _send(self, events: list[dict[str, Any]], name: str, end: int) -> int:
        """Sends the events of a file up to byte `end`, and stores that position."""
        rejected = self._sink.send(self._stream, events) if events else []
        for event, reason in rejected:
            self.rejected.keep(name, end, reason, json.dumps(event).encode())
        if end != self._read.get(name, 0):
            self._read[name] = end
            write_json(self._cursor, self._read, durable=True)
        return len(events) - len(rejected)

    def _files(self) -> dict[str, Path]:
        """Returns name -> file. A file keeps its name when its hour ends and it is compressed."""
        still_open = {
            p.stem.rpartition("-")[2]: p for p in self._folder.glob(f"{OPEN_HOUR_PREFIX}*.json")
        }
        closed = {
            path.name.removesuffix(".json.gz"): path
            for path in sorted(self._folder.glob("[0-9]*/[0-9]*/*.json.gz"))
        }
        return {**closed, **still_open}

    def _new_lines(self, name: str, path: Path) -> Iterator[tuple[bytes, int]]:
        """Yields complete new lines, each with the byte at which it ends."""
        end = self._read.get(name, 0)
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                file.seek(end)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # it is still being written
                    end += len(line)
                    yield line, end
        except FileNotFoundError:
            return  # it was just compressed; the next call finds it under its new name
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.rejected.keep(name, end, f"from here on the file is damaged: {error}", b"")

    def _events_of(self, line: bytes, name: str, start: int) -> list[dict[str, Any]]:
        try:
            return self._events_of_request(parse_object(line, max_bytes=_MAX_LINE_BYTES), self._key)
        except (ForeignError, RequestLineError) as error:
            self.rejected.keep(name, start, str(error), line)
        except Exception as error:  # a bad line must not stop the log
            self.rejected.keep(name, start, f"{type(error).__name__}: {error}"[:200], line)
        return []
