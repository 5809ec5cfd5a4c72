"""Limits the number of REST connections, and how long one may be open without a request.

aiohttp waits without a limit for the first request of a connection, and accepts as many as there
are file descriptors. Here an idle connection makes room for a new one. A connection whose request
is being answered is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from serving.server.waiting import WaitingClient, WaitingClients

_log = logging.getLogger(__name__)
_BACKLOG = 128
_HANDSHAKE_SECONDS = 10.0
_RETRY_SECONDS = 0.2  # after a failed accept, such as for lack of file descriptors


class Connections:
    """Accepts connections. All methods must be called in the thread of the event loop.

    Args:
      make: Function that makes the protocol of a connection.
      limit: Maximum number of open connections without a request.
      idle_seconds: Time that a connection may be open without a request.
      tls: TLS settings; None for plain connections.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        *,
        limit: int,
        idle_seconds: float,
        tls: ssl.SSLContext | None,
    ):
        self._make, self._tls = make, tls
        self.waiting = WaitingClients(limit, idle_seconds)
        self._open: dict[asyncio.BaseTransport, _Watched] = {}
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Starts listening and returns the port.

        Raises:
          OSError: The port is taken, or the host is not an address of this machine.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, address in dict.fromkeys(found):
            listening = socket.create_server(
                (address[0], port), family=family, backlog=_BACKLOG, reuse_port=False
            )
            listening.setblocking(False)
            self._sockets.append(listening)
            port = listening.getsockname()[1]  # for port 0, all addresses use the first choice
        for listening in self._sockets:
            self._start(self._accept(listening))
        return port

    def close(self) -> None:
        """Stops accepting. Open connections stay open."""
        for task in self._tasks:
            task.cancel()
        for listening in self._sockets:
            listening.close()

    def request_begins(self, transport: asyncio.BaseTransport | None) -> None:
        """Marks a connection as busy: a request is being answered."""
        if transport in self._open:
            self.waiting.leave(self._open[transport].waited)

    def request_ends(self, transport: asyncio.BaseTransport | None) -> None:
        """Marks a connection as idle: the answer was sent."""
        if transport in self._open:
            watched = self._open[transport]
            watched.waited = self.waiting.enter(watched.waited.peer, watched.waited.end)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                _log.error("cannot accept a connection: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
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
        except (OSError, asyncio.TimeoutError):  # the TLS handshake failed or took too long
            self.waiting.leave(waited)
            accepted.close()

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Watched(asyncio.Protocol):
    """Forwards all events of a connection to the protocol that answers its requests."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        waited: WaitingClient,
        connections: dict[asyncio.BaseTransport, _Watched],
        waiting: WaitingClients,
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
    """Shuts a connection down, so that its transport notices and closes the socket."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
