"""Errors that clients receive, with TensorFlow Serving's codes for gRPC and REST."""

from __future__ import annotations

import re

import grpc
import tensorflow as tf

Code = grpc.StatusCode
# ToHTTPStatusCode of TensorFlow Serving's model_servers/http_server.cc; 500 for the others.
HTTP = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ABORTED: 409,
    Code.ALREADY_EXISTS: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
_CODES = {code.value[0]: code for code in Code}
_PREFIX = "Graph execution error:"  # followed by the reason, then a trace of nodes
_SEVERAL = re.compile(r"\d+ root error\(s\) found.*?\(0\) [A-Z_]+: ", re.DOTALL)
QUEUE_FULL = "the queue is full: the server receives more than it can compute. Try again later"


class ServingError(Exception):
    """A request cannot be answered.

    Args:
      code: Status code of gRPC.
      message: Message for the client.
      http_status: HTTP status; None for that of the code.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http_status: int | None = None):
        super().__init__(message)
        self.code, self.message = code, message
        self.http_status = http_status or HTTP.get(code, 500)


def invalid(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """Converts TensorFlow's error of a request, with the code that TensorFlow Serving returns."""
    text = _reason(error.message or type(error).__name__)
    if isinstance(error, tf.errors.UnavailableError):  # the batch scheduler's queue is full
        return ServingError(Code.RESOURCE_EXHAUSTED, QUEUE_FULL)
    if isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)):
        return invalid(text)
    return ServingError(_CODES.get(error.error_code, Code.INTERNAL), text)


def _reason(message: str) -> str:
    """Returns the reason in TensorFlow's message, without the stacks of Python and the graph."""
    text = message.removeprefix(_PREFIX).strip()
    return _SEVERAL.sub("", text, count=1).partition("\n")[0]
