"""Authorizes gRPC calls and limits how many of them wait, and for how long.

grpcio gives every call a thread and waits there for its message without a limit, even if an
interceptor rejects the call. Therefore all methods are registered as taking a stream, which is the
same on the wire: the handler starts at once, can reject at once, and decides how long to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health

from serving.server.errors import QUEUE_FULL
from serving.server.security import TOKEN_REQUIRED, Tokens, is_allowed
from serving.server.waiting import WaitingClients

HEALTH = f"/{health.SERVICE_NAME}/"
ADMINISTRATION = ("/tensorflow.serving.ModelService/HandleReloadConfigRequest",)
# How long a message may take: enough for some MB over a slow line. If all places are taken, the
# call that has waited longest ends earlier.
_MESSAGE_SECONDS, _HEALTH_SECONDS = 60.0, 2.0
_HEALTH_WAITING = 8
_REJECTING_THREADS = 2
_NO_ADMINISTRATION = (
    "clients may not change what this server serves. Start it with --admin-socket or "
    "--admin-token-env to allow it"
)


class Guard(grpc.ServerInterceptor):
    """Passes calls on to their methods if they have a valid token and there is a free place.

    Health checks have their own threads and places, so that the server looks alive even when all
    other places are taken.

    Args:
      tokens: Tokens that calls must send.
      places: Maximum number of concurrent calls. Further ones are rejected.
      waiting: Maximum number of calls whose message has not arrived yet.
    """

    def __init__(self, tokens: Tokens, places: int, waiting: int):
        self._tokens = tokens
        self._places = threading.BoundedSemaphore(places)
        self.waiting = WaitingClients(waiting, _MESSAGE_SECONDS)
        self.health = WaitingClients(_HEALTH_WAITING, _HEALTH_SECONDS)
        self._handlers: dict[str, grpc.RpcMethodHandler | None] = {}
        rejecting = ThreadPoolExecutor(_REJECTING_THREADS, "grpc-rejecting")
        self._health_pool = ThreadPoolExecutor(2 * _HEALTH_WAITING, "grpc-health")
        status = grpc.StatusCode
        self._busy = _rejection(rejecting, status.RESOURCE_EXHAUSTED, QUEUE_FULL)
        self._unauthenticated = _rejection(rejecting, status.UNAUTHENTICATED, TOKEN_REQUIRED)
        self._forbidden = _rejection(rejecting, status.PERMISSION_DENIED, _NO_ADMINISTRATION)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        method = handler_call_details.method
        if method not in self._handlers:
            found = continuation(handler_call_details)
            if found is None:  # do not store method names that clients invent
                return None
            self._handlers[method] = self._guarded(method, found)
        handler = self._handlers[method]
        if method.startswith(HEALTH):
            return handler
        sent = dict(handler_call_details.invocation_metadata).get("authorization")
        token = self._tokens.predict
        if method in ADMINISTRATION:
            token = self._tokens.administer
            if token is None:
                return self._forbidden
        if not is_allowed(token, sent):
            return self._unauthenticated
        return handler if self._places.acquire(blocking=False) else self._busy

    def expire(self) -> None:
        """Ends calls whose message takes too long. Call it about every second."""
        self.waiting.expire()
        self.health.expire()

    def _guarded(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler | None:
        """Returns a guarded handler, or None if the method answers with a stream.

        Only the health service's Watch does, which would hold a place as long as the client likes.
        By its specification, clients do without it if the answer is UNIMPLEMENTED.
        """
        if handler.unary_unary is None:
            return None
        if method.startswith(HEALTH):
            return _reading(handler, method, self.health, lambda: None, self._health_pool)
        return _reading(handler, method, self.waiting, self._places.release)


def _reading(
    handler: grpc.RpcMethodHandler,
    method: str,
    waiting: WaitingClients,
    release: Callable[[], None],
    pool: ThreadPoolExecutor | None = None,
) -> grpc.RpcMethodHandler:
    """Returns a handler that reads and parses the request itself.

    With gRPC's own parsing, an invalid message is an INTERNAL error with a stack in the log, and
    leaks 16 KB (grpcio 1.85, measured).
    """

    def respond(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        try:
            content = _message(messages, context, waiting)
            try:
                request = handler.request_deserializer(content)
            except (DecodeError, UnicodeDecodeError):
                reason = f"these {len(content)} bytes are not a valid request of {method}"
                _abort(context, grpc.StatusCode.INVALID_ARGUMENT, reason)
            return handler.unary_unary(request, context)
        finally:
            release()

    if pool is not None:
        respond.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(
        respond, response_serializer=handler.response_serializer
    )


def _message(
    messages: Iterator[bytes], context: grpc.ServicerContext, waiting: WaitingClients
) -> bytes:
    client = waiting.enter(_peer(context), context.cancel)
    try:
        content = next(messages, None)
    except Exception:  # grpcio raises a plain Exception if the call has ended
        content = None
    if not waiting.leave(client):
        _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not arrive in time")
    if content is None:
        _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    return content


def _peer(context: grpc.ServicerContext) -> str:
    """Returns the address in ipv4:10.0.0.1:1234 or ipv6:%5B::1%5D:1234."""
    found = unquote(str(context.peer())).rpartition(":")[0]
    return found.partition(":")[2] or found


def _rejection(
    pool: ThreadPoolExecutor, code: grpc.StatusCode, details: str
) -> grpc.RpcMethodHandler:
    def respond(_: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
        _abort(context, code, details)

    respond.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(respond)


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    context.abort(code, details)
    raise AssertionError  # abort raises
