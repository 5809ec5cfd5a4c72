"""Paths of TensorFlow Serving's REST API, by the expressions of its http_rest_api_util.cc."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote_to_bytes, urlsplit

from tensorflow_serving.apis import model_pb2

from serving.server.errors import invalid

_FLAGS = re.ASCII | re.IGNORECASE
_VERSION = r"(?:(?:/versions/(?P<version>\d+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", _FLAGS
)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<part>metadata))?", _FLAGS)
_API = re.compile(r"/v1/.*", _FLAGS)
_MOST_DIGITS = 19  # of an int64


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a path asks for.

    Attributes:
      spec: Model, and version or label; without a signature.
      method: classify, regress or predict, as it was written; "" for a GET.
      metadata: Whether a GET asks for the metadata, and not for the status.
    """

    spec: model_pb2.ModelSpec
    method: str
    metadata: bool


def target_of(written: str) -> str:
    """Returns path and query of a request line, which may hold a whole URL."""
    if written.startswith("/"):
        return written
    try:
        parts = urlsplit(written)
    except ValueError:
        return written
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_api(target: str) -> bool:
    """Whether a path is one of TensorFlow Serving's API, right or wrong."""
    return _API.fullmatch(target) is not None


def parse_target(http_method: str, target: str) -> Asked:
    """Reads a path of the API; a query is part of it, as in TensorFlow Serving.

    Args:
      http_method: GET or POST; all others have no path that is right.
      target: Path and query, as they were sent: percent-encoded.

    Raises:
      ServingError: It is none of the API's, or its version is too large to be one.
    """
    expression = {"POST": _POST, "GET": _GET}.get(http_method)
    found = expression.fullmatch(target) if expression else None
    if found is None:
        raise invalid(f"Malformed request: {http_method} {target}")
    parts = found.groupdict()
    spec = model_pb2.ModelSpec(name=_plain(parts["name"] or ""))
    if parts["version"]:
        digits = parts["version"].lstrip("0") or "0"
        if len(digits) > _MOST_DIGITS or int(digits) >= 1 << 63:
            raise invalid(f"Failed to convert version: {parts['version']} to numeric.")
        spec.version.value = int(digits)
    elif parts["label"]:
        spec.version_label = _plain(parts["label"])
    method = parts.get("method") or ""
    if http_method == "POST" and method not in ("classify", "regress", "predict"):
        # The expression takes any case, and the comparison behind it does not.
        raise invalid(f"Malformed request: {http_method} {target}")
    return Asked(spec, method, parts.get("part") == "metadata")


def _plain(encoded: str) -> str:
    """Percent-decoded; bytes that are no UTF-8 can be nobody's name."""
    return unquote_to_bytes(encoded.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
