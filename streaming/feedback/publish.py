"""Reads the request log as it grows, and publishes what was shown.

The log is read on from where the last call ended, which is kept in a file. Sent first, remembered
then: after a crash some lines are sent again, under the same impression ids, and ingest leaves out
what repeats. So every impression that was logged counts once.
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
from streaming.feedback.refused import Refused, RequestLineError
from streaming.feedback.sinks import Sink
from streaming.layout import IMPRESSIONS, read_json

_MOST_LINE = 512 << 20  # twice the largest request
_AT_ONCE = 1_000  # events
_ALL = -1  # in place of how far a file was read

EventsOfRequest = Callable[[Mapping[str, Any], bytes | None], list[dict[str, Any]]]


class Feedback:
    """A request log, on its way to a sink.

    Args:
      log: folder of the request log.
      cursor: file that remembers how far it was read; beside it is what was refused.
      sink: where impressions go.
      events_of_request: The application's: makes the events of a line of the log, with the key.
      key: Key that ranking services sign with; None for none.

    Attributes:
      refused: what could not be used.
    """

    def __init__(
        self,
        log: Path,
        cursor: Path,
        sink: Sink,
        events_of_request: EventsOfRequest,
        key: bytes | None = None,
    ):
        self._folder, self._cursor, self._sink, self._key = log, cursor, sink, key
        self._events_of_request = events_of_request
        self.refused = Refused(cursor.with_name(f"{cursor.stem}-refused.jsonl"))
        self._read: dict[str, int] = read_json(cursor) if cursor.exists() else {}

    def publish(self) -> int:
        """Sends what is new; returns the number of impressions.

        Raises:
          ComponentError: the sink does not take them.
        """
        files = self._files()
        self._read = {name: end for name, end in self._read.items() if name in files}
        sent = 0
        for name, path in files.items():
            if self._read.get(name) == _ALL:
                continue
            events: list[dict[str, Any]] = []
            end = self._read.get(name, 0)
            for line, end in self._new_lines(name, path):
                events += self._events_of(line, name, end - len(line))
                if len(events) >= _AT_ONCE:
                    sent += self._send(events, name, end)
                    events = []
            is_closed = path.suffix == ".gz" and path.exists()  # and so does not change any more
            sent += self._send(events, name, _ALL if is_closed else end)
        return sent

    def _send(self, events: list[dict[str, Any]], name: str, end: int) -> int:
        """Of a file, up to `end`."""
        refused = self._sink.send(IMPRESSIONS, events) if events else []
        for event, reason in refused:
            self.refused.keep(name, end, reason, json.dumps(event).encode())
        if end != self._read.get(name, 0):
            self._read[name] = end
            write_json(self._cursor, self._read, durable=True)
        return len(events) - len(refused)

    def _files(self) -> dict[str, Path]:
        """Name -> file; a file keeps its name when its hour is over and it is compressed."""
        still_open = {
            p.stem.rpartition("-")[2]: p for p in self._folder.glob(f"{OPEN_HOUR_PREFIX}*.json")
        }
        closed = {
            path.name.removesuffix(".json.gz"): path
            for path in sorted(self._folder.glob("[0-9]*/[0-9]*/*.json.gz"))
        }
        return {**closed, **still_open}

    def _new_lines(self, name: str, path: Path) -> Iterator[tuple[bytes, int]]:
        """(line, where it ends), of whole lines that were not read before."""
        end = self._read.get(name, 0)
        try:
            with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
                file.seek(end)
                for line in file:
                    if not line.endswith(b"\n"):
                        return  # is being written
                    end += len(line)
                    yield line, end
        except FileNotFoundError:
            return  # was compressed just now; the next call finds it under its new name
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self.refused.keep(name, end, f"from here on the file is damaged: {error}", b"")

    def _events_of(self, line: bytes, name: str, start: int) -> list[dict[str, Any]]:
        try:
            return self._events_of_request(parse_object(line, max_bytes=_MOST_LINE), self._key)
        except (ForeignError, RequestLineError) as error:
            self.refused.keep(name, start, str(error), line)
        except Exception as error:  # whatever a line does, the next one is read
            self.refused.keep(name, start, f"{type(error).__name__}: {error}"[:200], line)
        return []
