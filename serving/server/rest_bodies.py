"""Bodies of REST's requests: how long they are waited for, and how much memory they take."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import zlib
from typing import Any

from aiohttp import web

from serving.server.errors import Code, ServingError, invalid
from serving.server.waiting import Waiting

_UNFINISHED = 128  # bodies at the same time
_SILENT_SECONDS = 10.0  # without a byte
_GRACE_SECONDS, _SLOWEST = 30.0, 16 << 10  # after which so many bytes a second are the least
_LONGEST_SECONDS = 3600.0
_LEAST_MEMORY = 256 << 20
_MOST_INFLATED = 32 << 20
_FREE, _MOST_TIMES = 4 << 20, 200  # beyond so many bytes, so many for each compressed one
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # whichever the first bytes say
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
_LATE, _OUSTED = "the body did not come in time", "another body needed the place"
_NO_MEMORY = "too many large requests at the same time; try again later"


@dataclasses.dataclass(eq=False)
class _Reading:
    peer: str
    task: asyncio.Task[bytes] | None
    began: float
    heard: float
    size: int = 0
    ended: str = ""  # why it was

    def end(self, why: str) -> None:
        if self.task is not None and not self.ended:
            self.ended = why
            self.task.cancel()


class Bodies:
    """Reads bodies; for one event loop.

    Args:
      most_bytes: Of one body. All that are unfinished hold twice that much at most, or 256 MiB.

    Attributes:
      waiting: Those that are unfinished.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._memory = max(2 * most_bytes, _LEAST_MEMORY)
        self._readings: set[_Reading] = set()
        self.waiting = Waiting(_UNFINISHED, _LONGEST_SECONDS)

    async def read(self, request: web.Request) -> bytes:
        """Returns the body as it was sent.

        Raises:
          ServingError: It is too large, or was no longer waited for.
        """
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        now = time.monotonic()
        reading = _Reading(request.remote or "", None, now, now)
        reading.task = asyncio.ensure_future(self._read(request, reading))
        self._readings.add(reading)
        waited = self.waiting.enter(reading.peer, lambda: reading.end(_OUSTED))
        try:
            return await reading.task
        except asyncio.CancelledError:
            if not reading.ended:
                raise  # the server stops
            if reading.ended == _OUSTED and request.transport is not None:
                request.transport.abort()  # there may be hundreds a second: none gets an answer
            code = Code.UNAVAILABLE if reading.ended == _NO_MEMORY else Code.DEADLINE_EXCEEDED
            raise ServingError(code, reading.ended) from None
        finally:
            reading.task.cancel()
            self.waiting.leave(waited)
            self._readings.discard(reading)

    def expire(self) -> None:
        """Ends bodies that do not get on; to be called every second or so."""
        now = time.monotonic()
        for one in [*self._readings]:
            is_slow = now - one.began > _GRACE_SECONDS + one.size / _SLOWEST
            if is_slow or now - one.heard > _SILENT_SECONDS:
                one.end(_LATE)
                self.waiting.ended += 1

    async def _read(self, request: web.Request, reading: _Reading) -> bytes:
        found: list[bytes] = []
        async for chunk in request.content.iter_any():
            found.append(chunk)
            reading.size += len(chunk)
            reading.heard = time.monotonic()
            if reading.size > self._most_bytes:
                raise self._too_large()
            self._make_room()
        return b"".join(found)

    def _make_room(self) -> None:
        """Ends the largest body of the peer that holds most memory, where there is too much."""
        sizes: dict[str, int] = {}
        for one in self._readings:
            if not one.ended:
                sizes[one.peer] = sizes.get(one.peer, 0) + one.size
        if sum(sizes.values()) > self._memory:
            peer = max(sizes, key=sizes.__getitem__)
            of_peer = [one for one in self._readings if one.peer == peer and not one.ended]
            max(of_peer, key=lambda one: one.size).end(_NO_MEMORY)
            self.waiting.ended += 1

    def _too_large(self) -> ServingError:
        said = f"a request may have {self._most_bytes} bytes"
        return ServingError(Code.RESOURCE_EXHAUSTED, said, 413)


def inflated(body: bytes, coding: str, most_bytes: int) -> bytes:
    """The body without its Content-Encoding.

    Raises:
      ServingError: It is of another coding, damaged, or more than `most_bytes` or 32 MiB: a few
        bytes may stand for a thousand times as many.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in (*_GZIP, *_DEFLATE):
        raise invalid(f"Content-Encoding may be gzip or deflate, not {coding[:40]!a}")
    try:
        return _inflated(body, _GZIP_OR_ZLIB, min(most_bytes, _MOST_INFLATED))
    except zlib.error as error:
        if coding in _DEFLATE:  # some send it without zlib's head
            try:
                return _inflated(body, -zlib.MAX_WBITS, min(most_bytes, _MOST_INFLATED))
            except zlib.error:
                pass
        raise invalid(f"the body is no {coding}: {error}") from None


def _inflated(body: bytes, kind: int, most: int) -> bytes:
    """Of all members; a gzip file may be several, one after the other."""
    found: list[bytes] = []
    size, rest = 0, body
    while rest or not found:
        inflating: Any = zlib.decompressobj(kind)
        # First as much as costs little: a bomb is to cost no more.
        found.append(inflating.decompress(rest, max(1, min(most, _FREE) - size + 1)))
        size += len(found[-1])
        read = len(body) - len(inflating.unconsumed_tail)
        if _FREE < size <= _MOST_TIMES * read:
            found.append(inflating.decompress(inflating.unconsumed_tail, most - size + 1))
            size += len(found[-1])
        elif size > _FREE:
            said = f"a compressed request may be {_MOST_TIMES} times as large when it is inflated"
            raise ServingError(Code.RESOURCE_EXHAUSTED, said, 413)
        if size > most:
            said = f"a compressed request may have {most} bytes when it is inflated"
            raise ServingError(Code.RESOURCE_EXHAUSTED, said, 413)
        if not inflating.eof:
            raise zlib.error("it ends too early")
        rest = inflating.unused_data
    return b"".join(found)
