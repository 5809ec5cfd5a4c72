"""Assembles the server, runs it until it is told to stop, and drains it."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from base.atomic_files import write_json
from serving.request_log.writer import RequestLog
from serving.server import limits, security
from serving.server.catalog import Catalog
from serving.server.catalog_updater import CatalogUpdater
from serving.server.core import Core
from serving.server.errors import ServingError
from serving.server.grpc_guard import Guard
from serving.server.grpc_services import ModelService, PredictionService
from serving.server.loaded_model import Batching, LoadedModel
from serving.server.metrics import Metrics
from serving.server.options import ServerOptions
from serving.server.rest import RestServer
from serving.server.security import Tokens
from serving.server.wanted import FolderConfig, read_config
from serving.server.warm_up import warm_up

_log = logging.getLogger(__name__)
_PREDICTION, _MODEL = "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"
# The last two are TensorFlow Serving's (server.cc, SetServingStatus).
_HEALTH_NAMES = ("", _PREDICTION, _MODEL, "PredictionService", "ModelService")
_HEALTH_SECONDS = 0.5  # between two checks whether the server is ready
_REJECTING_THREADS = 16  # to reject requests while all places of the queue are taken
_MAX_WAITING_CALLS = 64  # calls whose message has not arrived
_GRPC_IDLE_MS = 30_000  # before a connection without a call is closed
_HANDSHAKE_MS = 5_000
_ADMINISTRATION_THREADS = 4
_SWITCH_SECONDS = 0.0005  # a thread that loads a model may hold Python's lock this long


class OptionsError(ValueError):
    """The server cannot start with these options. The message is one line."""


class ModelServer:
    """A running server. `stop()` drains it.

    Raises:
      OptionsError: A port is taken, a secret or certificate is missing, or the config cannot be
        read.
    """

    def __init__(self, options: ServerOptions):
        self.options = options
        _check_places(options)
        tokens = Tokens(_token(options.token_env), _token(options.admin_token_env))
        if tokens.predict is not None and tokens.predict == tokens.administer:
            raise OptionsError(
                "token_env and admin_token_env hold the same token. Use different tokens"
            )
        connections = limits.connection_limit(options.connections)
        self.log = _request_log(options)
        self.metrics = Metrics()
        self.catalog = Catalog(
            lambda path, name: _load(path, name, options, low_priority=self.catalog.is_ready())
        )
        self.updater = CatalogUpdater(
            self.catalog,
            _config_source(options),
            options.folder_seconds,
            options.config_seconds,
            options.model_root,
        )
        core = Core(self.catalog, self.metrics, options.queue, self.log)
        self._start_serving()
        self._health = health.HealthServicer()
        places = options.queue + _REJECTING_THREADS + _MAX_WAITING_CALLS
        self._guard = Guard(tokens, places, _MAX_WAITING_CALLS)
        self._grpc = self._grpc_server(core, places, connections)
        self.port = self._bind()
        self._administration = self._administration_server()
        self._rest = self._rest_server(core, tokens.predict, connections)
        self.rest_port = self._rest.port
        self._add_gauges()
        self._grpc.start()
        self._watch_health()

    def stop(self) -> None:
        """Reports NOT_SERVING, stops accepting requests, and finishes the running ones."""
        with contextlib.ExitStack() as steps:  # runs in reverse order, also after an error
            if self.log is not None:
                steps.callback(self.log.close)
            steps.callback(self.catalog.close)
            steps.callback(self.updater.stop)
            self._stopping.set()
            self._health.enter_graceful_shutdown()
            if self._administration is not None:
                steps.callback(self._administration.stop(0).wait)
            stopped = self._grpc.stop(self.options.grace_seconds)
            steps.callback(stopped.wait)
            self._rest.stop()

    def _start_serving(self) -> None:
        try:
            self.updater.start()
        except ServingError as error:
            raise OptionsError(f"cannot start: {error.message}") from None

    def _grpc_server(self, core: Core, places: int, connections: int) -> grpc.Server:
        options = self.options
        server = grpc.server(
            # A thread for each place, so that calls can be rejected at once.
            ThreadPoolExecutor(places, thread_name_prefix="grpc"),
            interceptors=[self._guard],
            options=[
                ("grpc.max_receive_message_length", options.max_request_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # make a second server on the port an error
                ("grpc.max_allowed_incoming_connections", connections),
                ("grpc.max_connection_idle_ms", _GRPC_IDLE_MS),
                ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
                ("grpc.max_concurrent_streams", 2 * places),  # per connection
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(core), server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.updater), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _administration_server(self) -> grpc.Server | None:
        """Starts a server on the administrator's socket, which only this user can open."""
        path = self.options.admin_socket
        if path is None:
            return None
        threads = ThreadPoolExecutor(_ADMINISTRATION_THREADS, thread_name_prefix="admin")
        server = grpc.server(threads)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self.updater), server
        )
        try:
            security.check_socket_is_free(path)
            with security.private_files():
                server.add_insecure_port(f"unix:{path}")
        except (OSError, RuntimeError) as error:
            raise OptionsError(f"cannot listen on {path}: {error}") from None
        server.start()
        return server

    def _bind(self) -> int:
        options, address = self.options, f"{self.options.host}:{self.options.port}"
        try:
            if options.tls_certificate and options.tls_key:
                # gRPC's credentials do not report errors; the TLS context does.
                security.tls_context(options.tls_certificate, options.tls_key)
                credentials = security.tls_credentials(options.tls_certificate, options.tls_key)
                return self._grpc.add_secure_port(address, credentials)
            return self._grpc.add_insecure_port(address)
        except RuntimeError as error:
            raise OptionsError(
                f"cannot listen on {address} ({error}). Stop the other server, or choose another "
                "--port"
            ) from None
        except OSError as error:
            raise OptionsError(f"TLS certificate or key: {error}") from None

    def _rest_server(self, core: Core, token: str | None, connections: int) -> RestServer:
        options = self.options
        tls = None
        if options.tls_certificate and options.tls_key:
            tls = security.tls_context(options.tls_certificate, options.tls_key)
        try:
            return RestServer(
                core,
                self.updater,
                host=options.host,
                port=options.rest_api_port,
                max_bytes=options.max_request_bytes,
                timeout_seconds=_seconds(options.rest_api_timeout_in_ms),
                cors=options.rest_api_enable_cors_support,
                workers=options.queue + _REJECTING_THREADS,
                connections=connections,
                token=token,
                tls=tls,
                grace_seconds=options.grace_seconds,
            )
        except OSError as error:
            address = f"{options.host}:{options.rest_api_port}"
            raise OptionsError(
                f"cannot listen on {address} ({error}). Choose another --rest-api-port"
            ) from None

    def _watch_health(self) -> None:
        """Starts a thread that reports SERVING while every model has a version that answers."""
        self._stopping = threading.Event()
        kinds = health_pb2.HealthCheckResponse

        def watch() -> None:
            while True:
                ready = self.catalog.is_ready()
                for name in _HEALTH_NAMES:
                    self._health.set(name, kinds.SERVING if ready else kinds.NOT_SERVING)
                self._guard.expire()
                if self._stopping.wait(_HEALTH_SECONDS):
                    return

        threading.Thread(target=watch, name="health", daemon=True).start()

    def _add_gauges(self) -> None:
        self.metrics.add_versions(self._answering)
        ended = [self._guard.waiting, self._guard.health, *self._rest.waiting]
        self.metrics.add_gauge(
            "serving_waits_ended",
            "Connections, calls and bodies that were ended for lack of time or places",
            lambda: sum(one.ended for one in ended),
        )
        if self.log is not None:
            log = self.log
            self.metrics.add_gauge(
                "serving_request_log_dropped", "Predictions not logged", lambda: log.dropped
            )

    def _answering(self) -> list[tuple[str, int, str]]:
        found = []
        for name in self.catalog.names():
            labels = {number: label for label, number in self.catalog.labels(name).items()}
            found += [
                (name, number, labels.get(number, "")) for number in self.catalog.available(name)
            ]
        return found


def serve(options: ServerOptions, wait: Callable[[], object]) -> None:
    """Starts a server, calls `wait`, and drains the server when `wait` returns."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # excludes the imported modules from later collections
    server = ModelServer(options)
    if options.port_file:
        ports = {"grpc": server.port, "rest": server.rest_port, "pid": os.getpid()}
        write_json(options.port_file, ports)
    scheme = "https" if options.tls_certificate else "http"
    _log.info("gRPC on %s:%d", options.host, server.port)
    _log.info("REST on %s://%s:%d/v1/models/...", scheme, options.host, server.rest_port)
    if not server.catalog.is_ready():
        _log.warning("no version answers yet; waiting for one")
    wait()
    _log.info("draining for at most %g s", options.grace_seconds)
    server.stop()


def _load(path: Path, name: str, options: ServerOptions, low_priority: bool) -> LoadedModel:
    batching = Batching(
        options.max_batch_rows, options.batch_threads, options.batch_wait_us, options.queue
    )
    _log.info("loading %s", path)
    model = LoadedModel(path, name, batching if options.batching else None, low_priority)
    try:
        warm_up(model, path)
    except BaseException:
        model.close()
        raise
    return model


def _config_source(
    options: ServerOptions,
) -> Callable[[], model_server_config_pb2.ModelServerConfig]:
    if options.model_config_file is not None:
        return functools.partial(read_config, options.model_config_file)
    assert options.model_base_path is not None
    return FolderConfig(options.model_name, options.model_base_path).read


def _seconds(milliseconds: int) -> float:
    """Converts a time limit to seconds. As in TensorFlow Serving, 0 or less means no limit."""
    return milliseconds / 1000 if milliseconds > 0 else math.inf


def _check_places(options: ServerOptions) -> None:
    """Raises OptionsError for missing files early, before a model is loaded."""
    files = {"--tls-certificate": options.tls_certificate, "--tls-key": options.tls_key}
    for flag, path in files.items():
        if path is not None and not path.is_file():
            raise OptionsError(f"TLS certificate or key: {flag} {path}: there is no such file")
    if options.admin_socket is not None and not options.admin_socket.parent.is_dir():
        folder = options.admin_socket.parent
        raise OptionsError(f"the folder {folder} of --admin-socket does not exist: mkdir {folder}")
    for root in options.model_root:
        if not root.is_dir():
            raise OptionsError(f"--model-root {root}: there is no such folder")


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise OptionsError(
            f"the variable {variable} must hold a token: export it (--token-env, --admin-token-env)"
        )
    return token


def _request_log(options: ServerOptions) -> RequestLog | None:
    if options.request_log is None:
        return None
    return RequestLog(
        options.request_log,
        rate=options.request_log_rate,
        keys=options.request_log_key,
    )
