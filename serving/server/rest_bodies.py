"""Reads the bodies of REST requests within limits of time and memory."""

from __future__ import annotations

import dataclasses
import time
import zlib
from typing import Any

from aiohttp import web

from serving.server.errors import Code, ServingError, invalid
from serving.server.waiting import WaitingClients

_MAX_UNFINISHED = 128  # bodies at the same time
_MAX_SILENCE_SECONDS = 10.0  # between two chunks
_GRACE_SECONDS, _MIN_RATE = 30.0, 16 << 10  # after the grace period: minimum bytes per second
_MAX_SECONDS = 3600.0
_MIN_MEMORY = 256 << 20
_MAX_INFLATED = 32 << 20
# A body may always inflate to _FREE_BYTES, and beyond that to _MAX_RATIO times its size.
_FREE_BYTES, _MAX_RATIO = 4 << 20, 200
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # detected by the header
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
_LATE, _OUSTED = "the body did not arrive in time", "another body needed the place"
_NO_MEMORY = "too many large requests at the same time. Try again later"


class _EndedError(Exception):
    """The server ends a body before it has arrived."""


@dataclasses.dataclass(eq=False)
class _Reading:
    request: web.Request
    began: float
    last_chunk: float
    size: int = 0
    ended: str = ""  # reason why it was ended

    @property
    def peer(self) -> str:
        return self.request.remote or ""

    def end(self, why: str) -> None:
        if not self.ended:
            self.ended = why
            self.request.content.set_exception(_EndedError())


class Bodies:
    """Reads bodies in one event loop.

    Args:
      max_bytes: Maximum size of a body. All unfinished bodies together may have twice as much, or
        256 MiB if that is more.

    Attributes:
      waiting: Clients whose body is unfinished.
    """

    def __init__(self, max_bytes: int):
        self._most_bytes = max_bytes
        self._memory = max(2 * max_bytes, _MIN_MEMORY)
        self._readings: set[_Reading] = set()
        self._received = 0  # bytes of all unfinished bodies
        self.waiting = WaitingClients(_MAX_UNFINISHED, _MAX_SECONDS)

    async def read(self, request: web.Request) -> bytes:
        """Returns the body as it was sent.

        Raises:
          ServingError: The body is too large, or was ended to free time, a place or memory.
        """
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        now = time.monotonic()
        reading = _Reading(request, now, now)
        self._readings.add(reading)
        waited = self.waiting.enter(reading.peer, lambda: reading.end(_OUSTED))
        try:
            return await self._read(reading)
        except _EndedError as error:
            # The request keeps this error. With its traceback, they would form a cycle that only
            # the garbage collector finds: 100 ms at a time, if hundreds of bodies end each second.
            error.with_traceback(None)
        finally:
            self.waiting.leave(waited)
            self._readings.discard(reading)
            self._received -= reading.size
        if reading.ended == _OUSTED and request.transport is not None:
            request.transport.abort()  # hundreds may end each second, so none gets an answer
        code = Code.UNAVAILABLE if reading.ended == _NO_MEMORY else Code.DEADLINE_EXCEEDED
        raise ServingError(code, reading.ended)

    def expire(self) -> None:
        """Ends bodies that are too slow. Call it about every second."""
        now = time.monotonic()
        for one in [*self._readings]:
            is_slow = now - one.began > _GRACE_SECONDS + one.size / _MIN_RATE
            if is_slow or now - one.last_chunk > _MAX_SILENCE_SECONDS:
                one.end(_LATE)
                self.waiting.ended += 1

    async def _read(self, reading: _Reading) -> bytes:
        found: list[bytes] = []
        async for chunk in reading.request.content.iter_any():
            found.append(chunk)
            reading.size += len(chunk)
            self._received += len(chunk)
            reading.last_chunk = time.monotonic()
            if reading.size > self._most_bytes:
                raise self._too_large()
            self._make_room()
        return b"".join(found)

    def _make_room(self) -> None:
        """If memory is short, ends the largest body of the peer that uses most of it."""
        if self._received <= self._memory:
            return
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
        return _too_large(f"a request must have at most {self._most_bytes} bytes")


def inflated(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Decompresses a body. Protects against bodies that inflate to a thousand times their size.

    Args:
      body: Body as it was sent.
      coding: Its Content-Encoding.
      max_bytes: Maximum size of the result, if less than 32 MiB.

    Raises:
      ServingError: The coding is not supported, the body is damaged, or the result is too large.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in (*_GZIP, *_DEFLATE):
        raise invalid(f"Content-Encoding must be gzip or deflate. Received: {coding[:40]!a}")
    limit = min(max_bytes, _MAX_INFLATED)
    try:
        return _inflated(body, _GZIP_OR_ZLIB, limit)
    except zlib.error as error:
        if coding in _DEFLATE:  # some clients send it without the zlib header
            try:
                return _inflated(body, -zlib.MAX_WBITS, limit)
            except zlib.error:
                pass
        raise invalid(f"the body is not valid {coding}: {error}") from None


def _inflated(body: bytes, kind: int, limit: int) -> bytes:
    """Inflates all members: a gzip file may consist of several."""
    found: list[bytes] = []
    size, rest = 0, body
    while rest or not found:
        inflating: Any = zlib.decompressobj(kind)
        # Inflate a cheap amount first, so that a bomb costs no more than that.
        found.append(inflating.decompress(rest, max(1, min(limit, _FREE_BYTES) - size + 1)))
        size += len(found[-1])
        read = len(body) - len(inflating.unconsumed_tail)
        if _FREE_BYTES < size <= _MAX_RATIO * read:
            found.append(inflating.decompress(inflating.unconsumed_tail, limit - size + 1))
            size += len(found[-1])
        elif size > _FREE_BYTES:
            raise _too_large(f"a request must inflate to at most {_MAX_RATIO} times its size")
        if size > limit:
            raise _too_large(f"a request must inflate to at most {limit} bytes")
        if not inflating.eof:
            raise zlib.error("it ends too early")
        rest = inflating.unused_data
    return b"".join(found)


def _too_large(reason: str) -> ServingError:
    return ServingError(Code.RESOURCE_EXHAUSTED, reason, 413)
