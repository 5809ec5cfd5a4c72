"""What a gRPC call may do and hold before it is computed.

grpcio gives every call a thread, reads its message there, and waits for it without end; a call
that an interceptor refuses waits as well. So all methods are registered as taking a stream, which
is the same on the wire: the handler runs at once, refuses at once, and decides how long it waits.
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
from serving.server.security import Tokens, is_allowed
from serving.server.waiting import Waiting

HEALTH = f"/{health.SERVICE_NAME}/"
ADMINISTRATION = ("/tensorflow.serving.ModelService/HandleReloadConfigRequest",)
# Until the message of a call has come: time enough for some MB over a slow line. Where places are
# wanted, who has waited longest goes long before that.
_MESSAGE_SECONDS, _HEALTH_SECONDS = 60.0, 2.0
_HEALTH_WAITING = 8
_REFUSING_THREADS = 2
_NO_ADMINISTRATION = (
    "clients may not change what is served here; the server's options --admin-socket and "
    "--admin-token-env allow it"
)


class Guard(grpc.ServerInterceptor):
    """Lets calls through to their methods.

    A call has to have the token of its plane, and a place. Health checks have threads and places of
    their own: who holds all others does not make the server look dead.

    Args:
      tokens: What has to be sent.
      places: Calls at the same time whose message has come or is awaited; more are refused.
      waiting: How many of them may still be without their message.
    """

    def __init__(self, tokens: Tokens, places: int, waiting: int):
        self._tokens = tokens
        self._places = threading.BoundedSemaphore(places)
        self.waiting = Waiting(waiting, _MESSAGE_SECONDS)
        self.health = Waiting(_HEALTH_WAITING, _HEALTH_SECONDS)
        self._handlers: dict[str, grpc.RpcMethodHandler | None] = {}  # of the methods there are
        refusing = ThreadPoolExecutor(_REFUSING_THREADS, "grpc-refusing")
        self._health_pool = ThreadPoolExecutor(2 * _HEALTH_WAITING, "grpc-health")
        status = grpc.StatusCode
        self._busy = _refusal(refusing, status.RESOURCE_EXHAUSTED, QUEUE_FULL)
        self._unknown = _refusal(refusing, status.UNAUTHENTICATED, "a bearer token is wanted")
        self._forbidden = _refusal(refusing, status.PERMISSION_DENIED, _NO_ADMINISTRATION)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        method = handler_call_details.method
        if method not in self._handlers:
            found = continuation(handler_call_details)
            if found is None:  # names that clients think of are not kept
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
            return self._unknown
        return handler if self._places.acquire(blocking=False) else self._busy

    def expire(self) -> None:
        """Ends calls whose message does not come; to be called every second or so."""
        self.waiting.expire()
        self.health.expire()

    def _guarded(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler | None:
        """None where a method answers with a stream.

        That is the health service's Watch, which would hold a place for as long as a client likes.
        By its specification clients that are told UNIMPLEMENTED do without.
        """
        if handler.unary_unary is None:
            return None
        if method.startswith(HEALTH):
            return _reading(handler, method, self.health, lambda: None, self._health_pool)
        return _reading(handler, method, self.waiting, self._places.release)


def _reading(
    handler: grpc.RpcMethodHandler,
    method: str,
    waiting: Waiting,
    release: Callable[[], None],
    pool: ThreadPoolExecutor | None = None,
) -> grpc.RpcMethodHandler:
    """The same method, but it reads its request itself.

    Left to gRPC, bytes that are no message are INTERNAL, with a trace in the log, and 16 KB that
    are never freed (grpcio 1.85, measured).
    """

    def respond(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        try:
            content = _message(messages, context, waiting)
            try:
                request = handler.request_deserializer(content)
            except (DecodeError, UnicodeDecodeError):
                said = f"these {len(content)} bytes are no request of {method}"
                _abort(context, grpc.StatusCode.INVALID_ARGUMENT, said)
            return handler.unary_unary(request, context)
        finally:
            release()

    if pool is not None:
        respond.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(
        respond, response_serializer=handler.response_serializer
    )


def _message(messages: Iterator[bytes], context: grpc.ServicerContext, waiting: Waiting) -> bytes:
    waited = waiting.enter(_peer(context), context.cancel)
    try:
        content = next(messages, None)
    except Exception:  # what grpcio raises for a call that has ended is a plain Exception
        content = None
    if not waiting.leave(waited):
        _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not come in time")
    if content is None:
        _abort(context, grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    return content


def _peer(context: grpc.ServicerContext) -> str:
    """The address of ipv4:10.0.0.1:1234 or ipv6:%5B::1%5D:1234."""
    found = unquote(str(context.peer())).rpartition(":")[0]
    return found.partition(":")[2] or found


def _refusal(
    pool: ThreadPoolExecutor, code: grpc.StatusCode, details: str
) -> grpc.RpcMethodHandler:
    def respond(_: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
        _abort(context, code, details)

    respond.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return grpc.stream_unary_rpc_method_handler(respond)


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, details: str) -> NoReturn:
    context.abort(code, details)
    raise AssertionError  # abort raises
