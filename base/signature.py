"""Signs what one service tells another through a log that clients can write to as well."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

SIGNATURE = "signature"  # the key beside what is signed


def sign(key: bytes, request_id: str, said: Mapping[str, Any]) -> str:
    """HMAC-SHA256 of a request's id and what is said of it, as hex.

    Args:
      key: Of both services.
      request_id: What is said of one request is no good for another.
      said: JSON values; a signature among them is left out.
    """
    rest = {name: value for name, value in said.items() if name != SIGNATURE}
    text = json.dumps([request_id, rest], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_signed(key: bytes, request_id: str, said: Mapping[str, Any]) -> bool:
    """Whether the signature is there and right; compared in constant time."""
    given = said.get(SIGNATURE)
    if not isinstance(given, str) or not given.isascii():
        return False
    return hmac.compare_digest(given, sign(key, request_id, said))
