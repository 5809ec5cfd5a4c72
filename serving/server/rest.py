"""TensorFlow Serving's REST API, on aiohttp, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import math
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import json_text, metrics, rest_json
from serving.server.core import Call, Core
from serving.server.errors import QUEUE_FULL, Code, ServingError, invalid
from serving.server.grpc_services import CONTEXT, REQUEST_ID, model_status
from serving.server.live import Live
from serving.server.loaded_model import DEFAULT_SIGNATURE
from serving.server.rest_bodies import Bodies, inflated
from serving.server.rest_connections import Connections
from serving.server.rest_paths import Asked, is_api, parse_target, target_of
from serving.server.security import is_allowed
from serving.server.waiting import Waiting

_log = logging.getLogger(__name__)
TIMEOUT = "x-request-timeout-ms"
_IDLE_SECONDS = 75.0  # longer than balancers keep a connection: they close it, not this end
_LINGERING_SECONDS = 1.0  # for the rest of a body that was refused
_EXPIRE_SECONDS = 0.5
_SENDING_SECONDS, _SLOWEST = 30.0, 16 << 10  # for an answer, and bytes a second
_HEALTH = "/health"
_ORIGIN = re.compile("https?://")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_JSON = "application/json"
# The option's name before protobuf 5, and since.
_OPTIONS = inspect.signature(json_format.MessageToDict).parameters
_EVERY_FIELD: dict[str, Any] = {
    name: True
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in _OPTIONS
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Compute = Callable[[dict[str, Any], model_pb2.ModelSpec, Call], dict[str, Any]]


class RestServer:
    """Listens from construction on.

    Args:
      core: what computes.
      live: what is loaded.
      host, port: 0 picks a free one.
      most_bytes: of a request's body.
      timeout_seconds: For a request that names no deadline of its own.
      cors: Whether answers allow a page of any site to read them.
      workers: requests at the same time.
      connections: open at the same time.
      token: that must be sent; None for none.
      tls: None for none.
      grace_seconds: for requests that run, when it is stopped.
    """

    def __init__(
        self,
        core: Core,
        live: Live,
        *,
        host: str,
        port: int,
        most_bytes: int,
        timeout_seconds: float,
        cors: bool,
        workers: int,
        connections: int,
        token: str | None,
        tls: ssl.SSLContext | None,
        grace_seconds: float,
    ):
        self._core, self._live, self._token = core, live, token
        self._timeout_seconds, self._cors = timeout_seconds, cors
        self._computations: dict[str, _Compute] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="rest")
        self._free = workers  # places for requests that are computed
        self._most_bytes, self._bodies = most_bytes, Bodies(most_bytes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._thread.start()
        application = web.Application(
            client_max_size=most_bytes, middlewares=[self._guarded], logger=_log
        )
        # One route: which paths there are is for TensorFlow Serving's expressions to say.
        application.router.add_route("*", "/{path:.*}", self._dispatched)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=grace_seconds,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,  # it would inflate without a bound
        )
        self._run(self._runner.setup())
        self._connections = Connections(
            self._protocol, most=connections, idle_seconds=_IDLE_SECONDS, tls=tls
        )
        self.port: int = self._run(self._connections.listen(host, port))
        self._loop.call_soon_threadsafe(self._expire)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Those whom it waits for: connections, and bodies."""
        return self._connections.waiting, self._bodies.waiting

    def stop(self) -> None:
        """Takes no more requests, and waits for those that it has."""
        self._loop.call_soon_threadsafe(self._connections.close)
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        return server()

    def _expire(self) -> None:
        """Ends those who are waited for too long; again and again."""
        self._connections.waiting.expire()
        self._bodies.expire()
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Errors as JSON, whatever they are; the token; and what a browser wants to see."""
        transport = request.transport
        self._connections.begins(transport)
        try:
            answer = await self._checked(request, handler)
            if self._cors and is_api(target_of(request.raw_path)):
                answer.headers.update(_CORS)
            await asyncio.wait_for(_sent(request, answer), _sending_seconds(answer))
        except asyncio.TimeoutError:
            if transport is not None:
                transport.abort()
        finally:
            self._connections.ends(transport)
        return answer

    async def _checked(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        try:
            given = request.headers.get("authorization")
            if request.path != _HEALTH and not is_allowed(self._token, given):
                raise ServingError(Code.UNAUTHENTICATED, "a bearer token is wanted")
            return await handler(request)
        except ServingError as error:
            return _error(error.message, error.http_status)
        except web.HTTPException as error:
            return _error(error.reason or "", error.status)
        except ConnectionError:  # the client has gone
            return _error("the connection ended", 499)
        except Exception as error:
            _log.exception("a request failed")
            return _error(f"{type(error).__name__}: the log of the server has more", 500)

    async def _dispatched(self, request: web.Request) -> web.StreamResponse:
        """As RestApiRequestDispatcher of TensorFlow Serving's model_servers/http_server.cc."""
        target = target_of(request.raw_path)
        path = target.partition("?")[0]
        if path == _HEALTH:
            return await self._health()
        if path == metrics.PATH:
            if target != path:
                raise invalid(f"Unexpected path: {target}. Should be {path}")
            return web.Response(body=self._core.metrics.text(), content_type="text/plain")
        if not is_api(target):
            return _error(f"Malformed request: {request.method} {target}", 404)
        if request.method == "OPTIONS":
            if not _ORIGIN.search(request.headers.get("origin", "")):
                raise invalid("Origin header is missing in CORS preflight")
            return web.Response()
        return await self._answered(request, target)

    async def _answered(self, request: web.Request, target: str) -> web.Response:
        """A request of the API, counted by its outcome."""
        counted = self._core.metrics.serving.request
        try:
            asked = parse_target(request.method, target)
        except ServingError:
            with counted("", "", "REST"):
                raise
        with counted(self._core.known(asked.spec.name), asked.method, "REST"):
            if asked.method:
                return await self._post(self._computations[asked.method], asked.spec, request)
            if not asked.spec.name:
                raise invalid("Missing model name in request.")
            return self._metadata(asked) if asked.metadata else self._status(asked)

    async def _post(
        self, compute: _Compute, spec: model_pb2.ModelSpec, request: web.Request
    ) -> web.Response:
        call = _call(request, self._timeout_seconds)
        self._check_free()
        body = await self._bodies.read(request)
        self._check_free()  # others may have come meanwhile
        self._free -= 1
        try:
            coding = request.headers.get("content-encoding", "")
            text = await self._computed(compute, body, coding, spec, call)
        finally:
            self._free += 1
        return web.Response(body=text.encode(), content_type=_JSON)

    def _check_free(self) -> None:
        if self._free <= 0:
            raise ServingError(Code.RESOURCE_EXHAUSTED, QUEUE_FULL)

    async def _computed(
        self, compute: _Compute, body: bytes, coding: str, spec: model_pb2.ModelSpec, call: Call
    ) -> str:
        def answer() -> str:
            document = json_text.parse(inflated(body, coding, self._most_bytes))
            spec.signature_name = document.get("signature_name", "")
            return json_text.dumps(compute(document, spec, call))

        return await self._loop.run_in_executor(self._pool, answer)

    def _predict(
        self, document: dict[str, Any], spec: model_pb2.ModelSpec, call: Call
    ) -> dict[str, Any]:
        request = predict_pb2.PredictRequest(model_spec=spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        with self._core.catalog.use(spec) as (_, model):
            if name not in model.signatures:
                raise invalid(
                    f'Serving signature name: "{name}" not found in signature def. The model has: '
                    f"{', '.join(sorted(model.signatures))}."
                )
            infos = dict(model.signatures[name].inputs)
        by_row = rest_json.fill_predict(document, infos, request)
        return rest_json.predict_answer(self._core.predict(request, call), by_row)

    def _classify(
        self, document: dict[str, Any], spec: model_pb2.ModelSpec, call: Call
    ) -> dict[str, Any]:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        rest_json.fill_examples(document, request.input)
        return rest_json.classify_answer(self._core.classify(request, call))

    def _regress(
        self, document: dict[str, Any], spec: model_pb2.ModelSpec, call: Call
    ) -> dict[str, Any]:
        request = regression_pb2.RegressionRequest(model_spec=spec)
        rest_json.fill_examples(document, request.input)
        return rest_json.regress_answer(self._core.regress(request, call))

    def _status(self, asked: Asked) -> web.Response:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=asked.spec)
        return _document(_every_field(model_status(self._live, request)))

    def _metadata(self, asked: Asked) -> web.Response:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=asked.spec, metadata_field=["signature_def"]
        )
        answer = self._core.metadata(request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return _document(
            {
                "model_spec": _every_field(answer.model_spec),
                "metadata": {"signature_def": _every_field(signatures)},
            }
        )

    async def _health(self) -> web.Response:
        """For a probe: 200 once every model has a version that answers."""
        ready = self._live.catalog.is_ready()
        return _document({"ready": ready}, 200 if ready else 503)


async def _sent(request: web.Request, answer: web.StreamResponse) -> None:
    """Returns when the client has taken an answer, but for what the system buffers."""
    with contextlib.suppress(ConnectionError):
        await answer.prepare(request)
        await answer.write_eof()


def _sending_seconds(answer: web.StreamResponse) -> float:
    return _SENDING_SECONDS + (answer.content_length or 0) / _SLOWEST


def _call(request: web.Request, timeout_seconds: float) -> Call:
    seconds = timeout_seconds
    if TIMEOUT in request.headers:
        try:
            seconds = float(request.headers[TIMEOUT]) / 1000
        except ValueError:
            seconds = math.nan
        if math.isnan(seconds):
            raise invalid(f"{TIMEOUT} is a number of milliseconds")
    headers = request.headers
    deadline = time.monotonic() + seconds
    return Call(deadline, headers.get(REQUEST_ID, ""), headers.get(CONTEXT, ""))


def _every_field(message: Message) -> dict[str, Any]:
    """A message as TensorFlow Serving prints it: also fields that hold their default."""
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, **_EVERY_FIELD
    )
    return found


def _document(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(content).encode(), status=status, content_type=_JSON)


def _error(message: str, status: int) -> web.Response:
    return _document({"error": message}, status)
