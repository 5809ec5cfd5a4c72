"""Bodies of REST's requests: how long they are waited for, and how much memory they take."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

from aiohttp import web

from serving.server.errors import Code, ServingError, invalid
from serving.server.waiting import Waiting

_BODY_SECONDS = 30.0
_UNFINISHED = 128  # bodies at the same time
_MOST_INFLATED = 32 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # whichever the first bytes say
_CODINGS = ("gzip", "x-gzip", "deflate")


class Bodies:
    """Reads bodies; for one event loop.

    Args:
      most_bytes: Of one body. All that are unfinished hold twice that much at most.

    Attributes:
      waiting: Those that are unfinished.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._sizes: dict[asyncio.Task[bytes], int] = {}
        self.waiting = Waiting(_UNFINISHED, _BODY_SECONDS)

    async def read(self, request: web.Request) -> bytes:
        """Returns the body as it was sent.

        Raises:
          ServingError: It is too large, or was no longer waited for.
        """
        if (request.content_length or 0) > self._most_bytes:
            raise self._too_large()
        reading = asyncio.ensure_future(self._read(request))
        self._sizes[reading] = 0
        waited = self.waiting.enter(request.remote or "", reading.cancel)
        try:
            return await reading
        except asyncio.CancelledError:
            if not reading.cancelled() or self.waiting.leave(waited):
                raise  # it is not the reading that was ended, or the server stops
            raise ServingError(Code.DEADLINE_EXCEEDED, "the body did not come in time") from None
        finally:
            reading.cancel()
            self.waiting.leave(waited)
            self._sizes.pop(reading, None)

    async def _read(self, request: web.Request) -> bytes:
        reading: Any = asyncio.current_task()
        found: list[bytes] = []
        async for chunk in request.content.iter_any():
            found.append(chunk)
            self._sizes[reading] += len(chunk)
            if self._sizes[reading] > self._most_bytes:
                raise self._too_large()
            if sum(self._sizes.values()) > 2 * self._most_bytes:
                max(self._sizes, key=self._sizes.__getitem__).cancel()
        return b"".join(found)

    def _too_large(self) -> ServingError:
        said = f"a request may have {self._most_bytes} bytes"
        return ServingError(Code.RESOURCE_EXHAUSTED, said, 413)


def inflated(body: bytes, coding: str, most_bytes: int) -> bytes:
    """The body without its Content-Encoding.

    Raises:
      ServingError: It is of another coding, damaged, or more than `most_bytes` or 32 MiB: a few
        bytes may stand for a thousand times as many.
    """
    if coding.lower() in ("", "identity"):
        return body
    if coding.lower() not in _CODINGS:
        raise invalid(f"Content-Encoding may be gzip or deflate, not {coding[:40]!a}")
    most = min(most_bytes, _MOST_INFLATED)
    inflating = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = inflating.decompress(body, most)
    except zlib.error as error:
        raise invalid(f"the body is no {coding}: {error}") from None
    if inflating.unconsumed_tail:
        said = f"a compressed request may have {most} bytes when it is inflated"
        raise ServingError(Code.RESOURCE_EXHAUSTED, said, 413)
    if not inflating.eof or inflating.unused_data:
        raise invalid(f"the body is no whole {coding}")
    return found
