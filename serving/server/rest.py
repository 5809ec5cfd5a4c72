"""TensorFlow Serving's REST API, on aiohttp, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.server import metrics, rest_json
from serving.server.core import Call, Core
from serving.server.errors import QUEUE_FULL, Code, ServingError, invalid
from serving.server.grpc_services import CONTEXT, REQUEST_ID, model_status
from serving.server.live import Live
from serving.server.loaded_model import DEFAULT_SIGNATURE
from serving.server.security import is_allowed

_log = logging.getLogger(__name__)
_MODEL = r"/v1/models/{name:[^/:]+}"
_VERSIONS = ("", r"/versions/{version:\d{1,20}}", r"/labels/{label:[^/:]+}")
TIMEOUT = "x-request-timeout-ms"
_BODY_SECONDS = 30.0
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RestServer:
    """Listens from construction on.

    Args:
      core: what computes.
      live: what is loaded.
      host, port: 0 picks a free one.
      most_bytes: of a request's body.
      workers: requests at the same time.
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
        workers: int,
        token: str | None,
        tls: ssl.SSLContext | None,
        grace_seconds: float,
    ):
        self._core, self._live, self._token = core, live, token
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="rest")
        self._free = workers  # places for requests whose body is read or that are computed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest", daemon=True)
        self._thread.start()
        application = web.Application(
            client_max_size=most_bytes, middlewares=[self._guarded], logger=_log
        )
        self._add_routes(application)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=grace_seconds)
        self.port: int = self._run(self._listen(host, port, tls))

    def stop(self) -> None:
        """Takes no more requests, and waits for those that it has."""
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        await site.start()
        found: int = self._runner.addresses[0][1]
        return found

    def _add_routes(self, application: web.Application) -> None:
        methods = {"predict": self._predict, "classify": self._classify, "regress": self._regress}
        for version in _VERSIONS:
            for name, compute in methods.items():
                handler = functools.partial(self._post, compute)
                application.router.add_post(f"{_MODEL}{version}:{name}", handler)
            application.router.add_get(f"{_MODEL}{version}", self._status)
            application.router.add_get(f"{_MODEL}{version}/metadata", self._metadata)
        application.router.add_get(metrics.PATH, self._metrics)
        application.router.add_get("/health", self._health)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Errors as JSON, whatever they are; and the token."""
        try:
            given = request.headers.get("authorization")
            if request.path != "/health" and not is_allowed(self._token, given):
                raise ServingError(Code.UNAUTHENTICATED, "a bearer token is wanted")
            return await handler(request)
        except ServingError as error:
            return _error(error.message, error.http_status)
        except web.HTTPNotFound:
            return _error(f"Malformed request: {request.method} {request.path}", 404)
        except web.HTTPException as error:
            return _error(error.reason or "", error.status)
        except Exception as error:
            _log.exception("a request failed")
            return _error(f"{type(error).__name__}: the log of the server has more", 500)

    async def _post(
        self,
        compute: Callable[[dict[str, Any], model_pb2.ModelSpec, Call], dict[str, Any]],
        request: web.Request,
    ) -> web.Response:
        call, spec = _call(request), _spec(request)
        if self._free <= 0:
            raise ServingError(Code.RESOURCE_EXHAUSTED, QUEUE_FULL)
        self._free -= 1
        try:
            body = await asyncio.wait_for(request.read(), _BODY_SECONDS)
            text = await self._computed(compute, body, spec, call)
        except asyncio.TimeoutError:
            raise ServingError(Code.DEADLINE_EXCEEDED, "the body did not come in time") from None
        finally:
            self._free += 1
        return web.Response(text=text, content_type="application/json")

    async def _computed(
        self,
        compute: Callable[[dict[str, Any], model_pb2.ModelSpec, Call], dict[str, Any]],
        body: bytes,
        spec: model_pb2.ModelSpec,
        call: Call,
    ) -> str:
        def answer() -> str:
            document = rest_json.parse(body)
            spec.signature_name = document.get("signature_name", "")
            return rest_json.dumps(compute(document, spec, call))

        return await self._loop.run_in_executor(self._pool, answer)

    def _predict(
        self, document: dict[str, Any], spec: model_pb2.ModelSpec, call: Call
    ) -> dict[str, Any]:
        request = predict_pb2.PredictRequest(model_spec=spec)
        name = spec.signature_name or DEFAULT_SIGNATURE
        with self._core.catalog.use(spec) as (_, model):
            if name not in model.signatures:
                raise ServingError(
                    Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
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

    async def _status(self, request: web.Request) -> web.Response:
        asked = get_model_status_pb2.GetModelStatusRequest(model_spec=_spec(request))
        return _message(model_status(self._live, asked))

    async def _metadata(self, request: web.Request) -> web.Response:
        asked = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=_spec(request), metadata_field=["signature_def"]
        )
        answer = self._core.metadata(asked)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        as_json = functools.partial(json_format.MessageToDict, preserving_proto_field_name=True)
        document = {
            "model_spec": as_json(answer.model_spec),
            "metadata": {"signature_def": as_json(signatures)},
        }
        return web.json_response(document)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._core.metrics.text(), content_type="text/plain")

    async def _health(self, _: web.Request) -> web.Response:
        """For a probe: 200 once every model has a version that answers."""
        ready = self._live.catalog.is_ready()
        return web.json_response({"ready": ready}, status=200 if ready else 503)


def _spec(request: web.Request) -> model_pb2.ModelSpec:
    matched = request.match_info
    spec = model_pb2.ModelSpec(name=matched["name"])
    if "version" in matched:
        number = int(matched["version"])
        if number >= 1 << 63:
            raise invalid(f"Failed to convert version: {matched['version']} to numeric.")
        spec.version.value = number
    elif "label" in matched:
        spec.version_label = matched["label"]
    return spec


def _call(request: web.Request) -> Call:
    deadline = None
    if TIMEOUT in request.headers:
        try:
            deadline = time.monotonic() + float(request.headers[TIMEOUT]) / 1000
        except ValueError:
            raise invalid(f"{TIMEOUT} is a number of milliseconds") from None
    headers = request.headers
    return Call(deadline, headers.get(REQUEST_ID, ""), headers.get(CONTEXT, ""))


def _message(message: get_model_status_pb2.GetModelStatusResponse) -> web.Response:
    """As TensorFlow Serving prints it: every field, and error codes by name."""
    document = {
        "model_version_status": [
            {
                "version": str(version.version),
                "state": get_model_status_pb2.ModelVersionStatus.State.Name(version.state),
                "status": {
                    "error_code": "UNKNOWN" if version.status.error_code else "OK",
                    "error_message": version.status.error_message,
                },
            }
            for version in message.model_version_status
        ]
    }
    return web.json_response(document)


def _error(message: str, status: int) -> web.Response:
    return web.Response(
        text=json.dumps({"error": message}), status=status, content_type="application/json"
    )
