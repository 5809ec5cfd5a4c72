"""Bodies that the server ends leave nothing behind that only the garbage collector finds.

With such cycles, an attacker who opens hundreds of unfinished bodies per second stops the server
for 100 ms at a time, whenever the collector runs.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator

import pytest
from aiohttp import web

from serving.server.errors import Code, ServingError
from serving.server.rest_bodies import _MAX_UNFINISHED, Bodies

pytestmark = pytest.mark.component

_COUNT = _MAX_UNFINISHED + 10
_HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _ended(count: int) -> tuple[list[weakref.ref[web.Request]], list[ServingError]]:
    """Sends `count` unfinished bodies, and closes all connections."""
    bodies = Bodies(1 << 20)
    requests: list[weakref.ref[web.Request]] = []
    errors: list[ServingError] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(weakref.ref(request))
        try:
            return web.Response(body=await bodies.read(request))
        except ServingError as error:
            errors.append(error.with_traceback(None))
            return web.Response(status=503)

    application = web.Application()
    application.router.add_post("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    clients = []
    for number in range(count):
        client = socket.create_connection(runner.addresses[0][:2])
        client.sendall(_HALF)
        clients.append(client)
        while len(requests) <= number:
            await asyncio.sleep(0)
    for client in clients:
        client.close()
    while bodies.waiting:
        await asyncio.sleep(0.01)
    await runner.cleanup()
    return requests, errors


@pytest.mark.usefixtures("without_collector")
def test_no_request_waits_for_the_collector() -> None:
    requests, errors = asyncio.run(_ended(_COUNT))
    assert [error.code for error in errors] == [Code.DEADLINE_EXCEEDED] * (_COUNT - _MAX_UNFINISHED)
    assert len(requests) == _COUNT
    # Those that closed themselves are aiohttp's.
    kept = [number for number, one in enumerate(requests) if one() is not None]
    assert [number for number in kept if number < _COUNT - _MAX_UNFINISHED] == []
