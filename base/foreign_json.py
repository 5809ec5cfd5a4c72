"""Parses JSON from outside, such as from a client or a broker.

Python's parser accepts values that fail later: lists nested a thousand deep, lone surrogates
("\\ud800"), numbers of a million digits, and NaN, which is not JSON. Here each of them is an error.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH, MAX_BYTES = 64, 64 << 20
_MOST_DIGITS = 400  # a float has 309 before its point


class ForeignError(ValueError):
    """A text from outside cannot be used; the message says why in one line."""


def parse(text: str | bytes, *, max_bytes: int = MAX_BYTES, finite: bool = True) -> Any:
    """Parses a JSON text.

    Args:
      text: JSON as a string, or as bytes in UTF-8.
      max_bytes: Largest accepted length of the text.
      finite: Whether to reject NaN and Infinity, which Python writes but JSON does not have.

    Raises:
      ForeignError: The text is too long, is not JSON, is nested more than 64 deep, or has a lone
        surrogate, an infinite number or a number of more than 400 digits.
    """
    if len(text) > max_bytes:
        raise ForeignError(f"it has {len(text):,} bytes; {max_bytes:,} are read")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        constant = _no_number if finite else float
        found = json.loads(text, parse_constant=constant, parse_int=_whole)
        _check(found, finite)
    except ForeignError:
        raise
    except RecursionError:
        raise ForeignError(f"it is nested more than {MAX_DEPTH} deep") from None
    except ValueError as error:
        raise ForeignError(f"it is not JSON: {str(error)[:200]}") from None
    return found


def parse_object(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Parses a JSON text that must be an object; see `parse`."""
    found = parse(text, max_bytes=max_bytes)
    if not isinstance(found, dict):
        raise ForeignError("it is not a JSON object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ForeignError(f"{name} is not a JSON number")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ForeignError(f"a number has {len(digits):,} digits")
    return int(digits)


def _check(value: Any, finite: bool) -> None:
    """Raises ForeignError for a value that fails later; works without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ForeignError(f"it is nested more than {MAX_DEPTH} deep")
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                _check_texts(one)
                below += one.values()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, str):
                _check_texts((one,))
            elif finite and isinstance(one, float) and math.isinf(one):
                raise ForeignError("a number is not finite")  # 1e999
        level = below


def _check_texts(texts: Any) -> None:
    for text in texts:
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise ForeignError("a text has half a character (a lone surrogate)") from None
