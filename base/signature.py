"""Signs messages between services in a log that clients can write to as well."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

SIGNATURE = "signature"  # the key of the signature within a message


def sign(key: bytes, request_id: str, message: Mapping[str, Any]) -> str:
    """Returns the HMAC-SHA256 of a request's id and a message about it, as hex.

    Args:
      key: Shared key of both services.
      request_id: Id of the request; it binds the message to this request.
      message: JSON values; an existing signature is left out.
    """
    rest = {name: value for name, value in message.items() if name != SIGNATURE}
    text = json.dumps([request_id, rest], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_signed(key: bytes, request_id: str, message: Mapping[str, Any]) -> bool:
    """Returns whether a message has the right signature, compared in constant time."""
    given = message.get(SIGNATURE)
    if not isinstance(given, str) or not given.isascii():
        return False
    return hmac.compare_digest(given, sign(key, request_id, message))
