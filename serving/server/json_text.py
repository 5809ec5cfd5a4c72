"""Reads and writes JSON as TensorFlow Serving does (util/json_tensor.cc, with RapidJSON)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.server.errors import invalid

_MAX_SHOWN = 100  # characters of a value in a message
_SPACE = " \t\n\r"
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1
_MAX_DIGITS = 20  # of a 64-bit integer, with its sign
# Numbers that RapidJSON and Python read differently have many digits, or three in the exponent.
_DIGITS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS, _RUN = b"0" * 19, re.compile(rb"0+")
# A string, closed or not, or a spelling that RapidJSON accepts and Python does not.
_OTHER_SPELLINGS = re.compile(r'"(?:[^"\\]|\\.)*"?|-?\bInf\b|-NaN\b', re.DOTALL)
_SPELLED = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
# Consecutive escapes: a surrogate pair, a lone surrogate, or any other escape.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL
)
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_ASCII_SPACE = str.maketrans("", "", " \t\n\v\f\r")


def parse(body: bytes) -> dict[str, Any]:
    """Parses the JSON object of a request.

    Text after the object is ignored, as with RapidJSON's kParseStopWhenDoneFlag. `to_bytes` returns
    the original bytes of strings that are not UTF-8.

    Raises:
      ServingError: The body is not a JSON object, or an object has a key twice.
    """
    text = _decoded(body.removeprefix(b"\xef\xbb\xbf")).lstrip(_SPACE)
    decoder = _CAREFUL_DECODER if _may_be_large(body) else _DECODER
    if not text:
        raise invalid("JSON Parse error: The document is empty")
    try:
        found = _parsed(text, decoder)
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {shortened(found)} Is not object")
    name = found.get("signature_name", "")
    if not isinstance(name, str) or not is_utf8(name):
        raise invalid(
            f"JSON Value: {shortened(found)} not formatted correctly. 'signature_name' key must be "
            "a string value."
        )
    return found


def dumps(answer: Mapping[str, Any]) -> str:
    """Returns the JSON text of an answer, whose numbers must be finite."""
    return json.dumps(answer, allow_nan=False)


def to_bytes(text: str) -> bytes:
    """Returns the original bytes of a parsed string."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(value: str) -> bool:
    """Returns whether a parsed string was valid UTF-8, as names must be."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def is_base64(value: Any) -> bool:
    """Returns whether a value is {"b64": TEXT}, the notation for bytes."""
    return isinstance(value, dict) and [*value] == ["b64"] and isinstance(value["b64"], str)


def decode_base64(value: Mapping[str, str]) -> bytes:
    """Decodes {"b64": TEXT} as absl::Base64Unescape does (absl/strings/escaping.h).

    The alphabet has + and /, white space is skipped, and padding with = or . is optional.

    Raises:
      ServingError: The text is not valid base64.
    """
    found = _BASE64.fullmatch(value["b64"].translate(_ASCII_SPACE))
    if found is None or len(found[1]) % 4 == 1 or len(found[2]) not in (0, -len(found[1]) % 4):
        raise invalid("Unable to base64 decode")
    return base64.b64decode(found[1] + "=" * (-len(found[1]) % 4))


def to_json(array: np.ndarray, as_bytes: bool) -> Any:
    """Converts an array to nested lists of JSON values.

    Args:
      array: Numbers, booleans or strings of any shape.
      as_bytes: Whether to write strings as {"b64": TEXT}.

    Returns:
      Nested lists. Floats of 32 bits or less have no excess digits: 0.2 instead of
      0.20000000298023224. Bytes that are not UTF-8 become U+FFFD.
    """
    if array.dtype == object:
        return _nested([_text(value, as_bytes) for value in array.reshape(-1)], array.shape)
    if array.dtype.kind in "iub" or array.dtype == np.float64:
        return array.tolist()
    return _nested(_shortest(array.reshape(-1)).tolist(), array.shape)


def shortened(value: Any) -> str:
    """Returns the JSON text of a value for a message, cut if it is long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def json_type(value: Any) -> str:
    """Returns the name of a value's type, as RapidJSON has it."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return "Number"
    if isinstance(value, str):
        return "String"
    if isinstance(value, (list, dict)):
        return "Array" if isinstance(value, list) else "Object"
    return "Null"


def _decoded(body: bytes) -> str:
    """Decodes a body. Raises ServingError if it escapes a lone surrogate."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "surrogateescape")
    if ("\\ud" in text or "\\uD" in text) and any(one[1] for one in _ESCAPES.finditer(text)):
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.")
    return text


def _may_be_large(body: bytes) -> bool:
    """Returns whether the body may have a number beyond 64 bits. Fast on megabytes."""
    alike = body.translate(_DIGITS_ALIKE)
    if b"e000" in alike or b"e+000" in alike:
        return True
    place = alike.find(_MANY_DIGITS)
    while place >= 0:
        if alike[place - 1 : place] != b".":
            return True
        run = _RUN.match(alike, place)
        assert run is not None
        place = alike.find(_MANY_DIGITS, run.end())
    return False


def _parsed(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.raw_decode(text)[0]
    except ValueError as error:
        respelled = _OTHER_SPELLINGS.sub(lambda one: _SPELLED.get(one[0], one[0]), text)
        if respelled == text:
            raise error from None
        return decoder.raw_decode(respelled)[0]


def _integer(text: str) -> int | float:
    """Returns a 64-bit integer, or a float if it is larger, as RapidJSON does."""
    if len(text) <= _MAX_DIGITS and _INT64_MIN <= (number := int(text)) <= _UINT64_MAX:
        return number
    return _float(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number too big to be stored in double.")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"Duplicate key {shortened(duplicate)} in an object.")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_CAREFUL_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, object_pairs_hook=_object
)


def _text(value: bytes, as_bytes: bool) -> Any:
    if as_bytes:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def _shortest(values: np.ndarray) -> np.ndarray:
    """Returns float64 values that print with as few digits as WriteDecimal of json_tensor.cc."""
    wide = values.astype(np.float64)
    found = np.array([float(f"{value:.6g}") for value in wide.tolist()], dtype=np.float64)
    with np.errstate(over="ignore"):
        differs = found.astype(values.dtype) != values
    found[differs] = [float(f"{value:.9g}") for value in wide[differs].tolist()]
    return found


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """Returns flat values as nested lists; a scalar as itself."""
    flat = np.empty(len(values), dtype=object)
    flat[:] = values
    return flat.reshape(shape).tolist()
