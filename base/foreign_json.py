"""JSON that somebody else wrote: a client, a broker, another program.

Python's reader takes what later fails elsewhere: lists nested a thousand deep, which exhaust the
stack of whoever walks them; half a character ("\\ud800"), which no file and no broker takes;
numbers of a million digits, and NaN, which is no JSON. Here they are refused, by one error.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH, MAX_BYTES = 64, 64 << 20
_MOST_DIGITS = 400  # a float has 309 before its point


class ForeignError(ValueError):
    """A text from outside cannot be used; the message says why, in one line."""


def parse(text: str | bytes, *, max_bytes: int = MAX_BYTES, finite: bool = True) -> Any:
    """The value of a JSON text.

    Args:
      text: UTF-8 if it is bytes.
      max_bytes: Of the text.
      finite: Whether to refuse NaN and Infinity, which Python writes and JSON does not have.

    Raises:
      ForeignError: It is too long, no JSON, nested more than 64 deep, or has half a character, or a
        number that is not finite or has more than 400 digits.
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
        raise ForeignError(f"it is no JSON: {str(error)[:200]}") from None
    return found


def parse_object(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """`parse`, of what has to be an object."""
    found = parse(text, max_bytes=max_bytes)
    if not isinstance(found, dict):
        raise ForeignError("it is no JSON object")
    return found


def _no_number(name: str) -> NoReturn:
    raise ForeignError(f"{name} is no JSON number")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ForeignError(f"a number has {len(digits):,} digits")
    return int(digits)


def _check(value: Any, finite: bool) -> None:
    """Goes through all of it without recursion."""
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
