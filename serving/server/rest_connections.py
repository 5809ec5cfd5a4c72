"""REST's connections: how many, and how long one may be open without a request.

aiohttp waits without end for the first request of a connection, and opens as many as there are
file descriptors. Here a connection that is waited for makes room for a new one; one whose request
is being answered is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from serving.server.waiting import Waited, Waiting

_log = logging.getLogger(__name__)
_BACKLOG = 128
_HANDSHAKE_SECONDS = 10.0
_NO_FILES_SECONDS = 0.2  # until accepting is tried again


class Connections:
    """Accepts connections; all methods are for the thread of the loop.

    Args:
      make: Makes the protocol that answers a connection's requests.
      most: Connections at the same time, those that are being answered not counted.
      idle_seconds: A connection may be open without a request.
      tls: None for none.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        *,
        most: int,
        idle_seconds: float,
        tls: ssl.SSLContext | None,
    ):
        self._make, self._tls = make, tls
        self.waiting = Waiting(most, idle_seconds)
        self._open: dict[asyncio.BaseTransport, _Watched] = {}
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Returns the port.

        Raises:
          OSError: It is taken, or the host is none of this machine.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            listening = socket.create_server(
                (address[0], port), family=family, backlog=_BACKLOG, reuse_port=False
            )
            listening.setblocking(False)
            self._sockets.append(listening)
            port = listening.getsockname()[1]  # if any one was wanted, the first has chosen
        for listening in self._sockets:
            self._start(self._accept(listening))
        return port

    def close(self) -> None:
        """Accepts no more; those that are open stay so."""
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            listening.close()

    def begins(self, transport: asyncio.BaseTransport | None) -> None:
        """A request of the connection is being answered."""
        if transport in self._open:
            self.waiting.leave(self._open[transport].waited)

    def ends(self, transport: asyncio.BaseTransport | None) -> None:
        """Its answer is made."""
        if transport in self._open:
            watched = self._open[transport]
            watched.waited = self.waiting.enter(watched.waited.peer, watched.waited.end)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                _log.error("a connection cannot be accepted: %s", error)
                await asyncio.sleep(_NO_FILES_SECONDS)
                continue
            self._start(self._connect(accepted, str(address[0])))

    async def _connect(self, accepted: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        waited = self.waiting.enter(peer, lambda: _shut(accepted))

        def watched() -> _Watched:
            return _Watched(self._make(), waited, self._open, self.waiting)

        limits: dict[str, Any] = {}
        if self._tls is not None:
            limits["ssl_handshake_timeout"] = _HANDSHAKE_SECONDS
        try:
            await loop.connect_accepted_socket(watched, accepted, ssl=self._tls, **limits)
        except (OSError, asyncio.TimeoutError):  # a handshake that failed, or was ended
            self.waiting.leave(waited)
            accepted.close()

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Watched(asyncio.Protocol):
    """Hands everything on to the protocol that answers."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        waited: Waited,
        connections: dict[asyncio.BaseTransport, _Watched],
        waiting: Waiting,
    ):
        self._inner, self.waited = inner, waited
        self._connections, self._waiting = connections, waiting
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections[transport] = self
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._transport is not None:
            self._connections.pop(self._transport, None)
        self._waiting.leave(self.waited)
        self._inner.connection_lost(error)


def _shut(connection: socket.socket) -> None:
    """Ends it so that its transport hears of it and closes the socket."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
