"""Parses paths of TensorFlow Serving's REST API, with the patterns of http_rest_api_util.cc."""

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
_MAX_DIGITS = 19  # of an int64


@dataclasses.dataclass(frozen=True)
class ApiPath:
    """A parsed path of the API.

    Attributes:
      spec: Model, and version or label; without a signature.
      method: classify, regress or predict; empty for a GET.
      metadata: Whether a GET asks for the metadata instead of the status.
    """

    spec: model_pb2.ModelSpec
    method: str
    metadata: bool


def target_of(written: str) -> str:
    """Returns path and query of a request line, which may contain a full URL."""
    if written.startswith("/"):
        return written
    try:
        parts = urlsplit(written)
    except ValueError:
        return written
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_api(target: str) -> bool:
    """Returns whether a path belongs to the API, valid or not."""
    return _API.fullmatch(target) is not None


def parse_target(http_method: str, target: str) -> ApiPath:
    """Parses a path of the API. A query is part of the path, as in TensorFlow Serving.

    Args:
      http_method: GET or POST. Other methods have no valid path.
      target: Path and query, percent-encoded.

    Raises:
      ServingError: The path is malformed, or its version is too large.
    """
    expression = {"POST": _POST, "GET": _GET}.get(http_method)
    found = expression.fullmatch(target) if expression else None
    if found is None:
        raise invalid(f"Malformed request: {http_method} {target}")
    parts = found.groupdict()
    spec = model_pb2.ModelSpec(name=_plain(parts["name"] or ""))
    if parts["version"]:
        digits = parts["version"].lstrip("0") or "0"
        if len(digits) > _MAX_DIGITS or int(digits) >= 1 << 63:
            raise invalid(f"Failed to convert version: {parts['version']} to numeric.")
        spec.version.value = int(digits)
    elif parts["label"]:
        spec.version_label = _plain(parts["label"])
    method = parts.get("method") or ""
    if http_method == "POST" and method not in ("classify", "regress", "predict"):
        # TensorFlow Serving's pattern ignores case, but its comparison of the method does not.
        raise invalid(f"Malformed request: {http_method} {target}")
    return ApiPath(spec, method, parts.get("part") == "metadata")


def _plain(encoded: str) -> str:
    """Decodes percent-encoding. Bytes that are not UTF-8 are replaced: no model has such a name."""
    return unquote_to_bytes(encoded.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
