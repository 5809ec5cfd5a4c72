"""TensorFlow Serving's REST API on aiohttp, in a thread of its own."""

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
from serving.server.catalog_updater import CatalogUpdater
from serving.server.core import Call, Core
from serving.server.errors import QUEUE_FULL, Code, ServingError, invalid
from serving.server.grpc_services import CONTEXT, REQUEST_ID, model_status
from serving.server.loaded_model import DEFAULT_SIGNATURE
from serving.server.rest_bodies import Bodies, inflated
from serving.server.rest_connections import Connections
from serving.server.rest_paths import ApiPath, is_api, parse_target, target_of
from serving.server.security import TOKEN_REQUIRED, is_allowed
from serving.server.waiting import WaitingClients

_log = logging.getLogger(__name__)
TIMEOUT = "x-request-timeout-ms"
_IDLE_SECONDS = 75.0  # longer than load balancers keep a connection, so that they close it
_LINGERING_SECONDS = 1.0  # for the rest of a rejected body
_EXPIRE_SECONDS = 0.5
_SENDING_SECONDS, _MIN_RATE = 30.0, 16 << 10  # for an answer: grace period, bytes per second
_HEALTH = "/health"
_ORIGIN = re.compile("https?://")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_JSON = "application/json"
# Protobuf 5 renamed the option.
_OPTIONS = inspect.signature(json_format.MessageToDict).parameters
_EVERY_FIELD: dict[str, Any] = {
    name: True
    for name in ("including_default_value_fields", "always_print_fields_with_no_presence")
    if name in _OPTIONS
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Compute = Callable[[dict[str, Any], model_pb2.ModelSpec, Call], dict[str, Any]]


class RestServer:
    """A running REST server. It listens as soon as it is constructed.

    Args:
      core: Core that answers requests.
      updater: Updater whose catalog is served.
      host, port: Address to listen on; port 0 picks a free one.
      max_bytes: Maximum size of a request's body.
      timeout_seconds: Deadline of a request that has none.
      cors: Whether pages of any site may read the answers.
      workers: Maximum number of requests at the same time.
      connections: Maximum number of idle connections.
      token: Token that clients must send; None for none.
      tls: TLS settings; None for plain HTTP.
      grace_seconds: Time for running requests when the server stops.
    """

    def __init__(
        self,
        core: Core,
        updater: CatalogUpdater,
        *,
        host: str,
        port: int,
        max_bytes: int,
        timeout_seconds: float,
        cors: bool,
        workers: int,
        connections: int,
        token: str | None,
        tls: ssl.SSLContext | None,
        grace_seconds: float,
    ):
        self._core, self._updater, self._token = core, updater, token
        self._timeout_seconds, self._cors = timeout_seconds, cors
        self._computations: dict[str, _Compute] = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="rest")
        self._free = workers  # free places for requests to compute
        self._most_bytes, self._bodies = max_bytes, Bodies(max_bytes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._thread.start()
        application = web.Application(
            client_max_size=max_bytes, middlewares=[self._guarded], logger=_log
        )
        # A single route, because TensorFlow Serving's own patterns decide which paths are valid.
        application.router.add_route("*", "/{path:.*}", self._dispatched)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=grace_seconds,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_LINGERING_SECONDS,
            auto_decompress=False,  # it has no limit of size
        )
        self._run(self._runner.setup())
        self._connections = Connections(
            self._protocol, limit=connections, idle_seconds=_IDLE_SECONDS, tls=tls
        )
        self.port: int = self._run(self._connections.listen(host, port))
        self._loop.call_soon_threadsafe(self._expire)

    @property
    def waiting(self) -> tuple[WaitingClients, ...]:
        """Returns the clients that the server waits for: connections and bodies."""
        return self._connections.waiting, self._bodies.waiting

    def stop(self) -> None:
        """Stops accepting requests and waits for the running ones."""
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
        """Ends clients that have waited too long, and schedules itself again."""
        self._connections.waiting.expire()
        self._bodies.expire()
        self._loop.call_later(_EXPIRE_SECONDS, self._expire)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answers a request with limits of time, and adds the headers that browsers need."""
        transport = request.transport
        self._connections.request_begins(transport)
        try:
            answer = await self._checked(request, handler)
            if self._cors and is_api(target_of(request.raw_path)):
                answer.headers.update(_CORS)
            await asyncio.wait_for(_sent(request, answer), _sending_seconds(answer))
        except asyncio.TimeoutError:
            if transport is not None:
                transport.abort()
        finally:
            self._connections.request_ends(transport)
        return answer

    async def _checked(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Checks the token, and converts all errors to JSON."""
        try:
            given = request.headers.get("authorization")
            if request.path != _HEALTH and not is_allowed(self._token, given):
                raise ServingError(Code.UNAUTHENTICATED, TOKEN_REQUIRED)
            return await handler(request)
        except ServingError as error:
            return _error(error.message, error.http_status)
        except web.HTTPException as error:
            return _error(error.reason or "", error.status)
        except ConnectionError:  # the client has disconnected
            return _error("the connection ended", 499)
        except Exception as error:
            _log.exception("a request failed")
            return _error(f"{type(error).__name__}: see the log of the server", 500)

    async def _dispatched(self, request: web.Request) -> web.StreamResponse:
        """Dispatches as RestApiRequestDispatcher of TensorFlow Serving's http_server.cc."""
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
        """Answers a request of the API, and counts it by its outcome."""
        counted = self._core.metrics.serving.request
        try:
            asked = parse_target(request.method, target)
        except ServingError:
            with counted("", "", "REST"):
                raise
        with counted(self._core.known_model(asked.spec.name), asked.method, "REST"):
            if asked.method:
                return await self._post(self._computations[asked.method], asked.spec, request)
            if not asked.spec.name:
                raise invalid("Missing model name in request.")
            return self._metadata(asked) if asked.metadata else self._status(asked)

    async def _post(
        self, compute: _Compute, spec: model_pb2.ModelSpec, request: web.Request
    ) -> web.Response:
        call = call_of(request, self._timeout_seconds)
        self._check_free()
        body = await self._bodies.read(request)
        self._check_free()  # other requests may have taken the places
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

    def _status(self, asked: ApiPath) -> web.Response:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec=asked.spec)
        return _document(_every_field(model_status(self._updater, request)))

    def _metadata(self, asked: ApiPath) -> web.Response:
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
        """Answers a probe with 200 if every model has a version that answers."""
        ready = self._updater.catalog.is_ready()
        return _document({"ready": ready}, 200 if ready else 503)


async def _sent(request: web.Request, answer: web.StreamResponse) -> None:
    """Sends an answer. Returns when all of it is received or in the system's buffers."""
    with contextlib.suppress(ConnectionError):
        await answer.prepare(request)
        await answer.write_eof()


def _sending_seconds(answer: web.StreamResponse) -> float:
    return _SENDING_SECONDS + (answer.content_length or 0) / _MIN_RATE


def call_of(request: web.Request, timeout_seconds: float) -> Call:
    """Returns the metadata of a request. `timeout_seconds` counts if it sends no timeout.

    Raises:
      ServingError: Its timeout is not a number.
    """
    seconds = timeout_seconds
    if TIMEOUT in request.headers:
        try:
            seconds = float(request.headers[TIMEOUT]) / 1000
        except ValueError:
            seconds = math.nan
        if math.isnan(seconds):
            sent = request.headers[TIMEOUT]
            raise invalid(f"{TIMEOUT} must be a number of milliseconds. Received: {sent[:40]!a}")
    headers = request.headers
    deadline = time.monotonic() + seconds
    return Call(deadline, headers.get(REQUEST_ID, ""), headers.get(CONTEXT, ""))


def _every_field(message: Message) -> dict[str, Any]:
    """Converts a message as TensorFlow Serving prints it, including fields with default values."""
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, **_EVERY_FIELD
    )
    return found


def _document(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(content).encode(), status=status, content_type=_JSON)


def _error(message: str, status: int) -> web.Response:
    return _document({"error": message}, status)
