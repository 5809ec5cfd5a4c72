"""What a client is told: TensorFlow Serving's codes, for gRPC and REST."""

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
_PREFIX = "Graph execution error:"  # then the reason, then the nodes it came by
_SEVERAL = re.compile(r"\d+ root error\(s\) found.*?\(0\) [A-Z_]+: ", re.DOTALL)
QUEUE_FULL = "the queue is full: the server is asked for more than it can compute; try again later"


class ServingError(Exception):
    """A request that is refused, and why.

    Args:
      code: For gRPC.
      message: For the client.
      http_status: For REST, where it is not that of the code.
    """

    def __init__(self, code: grpc.StatusCode, message: str, http_status: int | None = None):
        super().__init__(message)
        self.code, self.message = code, message
        self.http_status = http_status or HTTP.get(code, 500)


def invalid(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def of_tensorflow(error: tf.errors.OpError) -> ServingError:
    """What TensorFlow says of a request, with its code, as TensorFlow Serving passes it on."""
    text = _reason(error.message or type(error).__name__)
    if isinstance(error, tf.errors.UnavailableError):  # by the batch scheduler
        return ServingError(Code.RESOURCE_EXHAUSTED, QUEUE_FULL)
    if isinstance(error, (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)):
        return invalid(text)
    return ServingError(_CODES.get(error.error_code, Code.INTERNAL), text)


def _reason(message: str) -> str:
    """What is wrong, without the stacks of Python and of the graph around it."""
    text = message.removeprefix(_PREFIX).strip()
    return _SEVERAL.sub("", text, count=1).partition("\n")[0]
