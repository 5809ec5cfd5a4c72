"""JSON as TensorFlow Serving reads and writes it (util/json_tensor.cc, on RapidJSON)."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from serving.server.errors import invalid

_SHOWN = 100  # characters of a value in a message
_SPACE = " \t\n\r"
_INT64_MIN, _UINT64_MAX = -(1 << 63), (1 << 64) - 1
_MOST_DIGITS = 20  # of an integer of 64 bits, with its sign
# Numbers that RapidJSON takes otherwise than Python have many digits, or three in the exponent.
_DIGITS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_MANY_DIGITS, _RUN = b"0" * 19, re.compile(rb"0+")
# A string, closed or not, or one of the spellings that RapidJSON knows and Python does not.
_OTHER_SPELLINGS = re.compile(r'"(?:[^"\\]|\\.)*"?|-?\bInf\b|-NaN\b', re.DOTALL)
_SPELLED = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
# Escapes one after the other: a pair of surrogates, half of one, or any other.
_ESCAPES = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)", re.DOTALL
)
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_ASCII_SPACE = str.maketrans("", "", " \t\n\v\f\r")


def parse(body: bytes) -> dict[str, Any]:
    """Returns the object of a request.

    What stands behind the object is ignored, as RapidJSON's kParseStopWhenDoneFlag has it. Bytes in
    strings that are no UTF-8 come back from `to_bytes` as they were sent.

    Raises:
      ServingError: The body is no JSON, or no object, or a key stands in an object twice.
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
        raise invalid(f"JSON Value: {shown(found)} Is not object")
    name = found.get("signature_name", "")
    if not isinstance(name, str) or not is_text(name):
        raise invalid(
            f"JSON Value: {shown(found)} not formatted correctly. 'signature_name' key must be a "
            "string value."
        )
    return found


def dumps(answer: Mapping[str, Any]) -> str:
    """The text of an answer, which any parser of JSON can read: its numbers are finite."""
    return json.dumps(answer, allow_nan=False)


def to_bytes(text: str) -> bytes:
    """Returns a parsed string as it was sent."""
    return text.encode("utf-8", "surrogateescape")


def is_text(value: str) -> bool:
    """Whether a parsed string was valid UTF-8, as names have to be."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def is_base64(value: Any) -> bool:
    """Whether a value is {"b64": TEXT}, which stands for bytes."""
    return isinstance(value, dict) and [*value] == ["b64"] and isinstance(value["b64"], str)


def of_base64(value: Mapping[str, str]) -> bytes:
    """Decodes {"b64": TEXT} as absl::Base64Unescape does (absl/strings/escaping.h).

    The alphabet is the one with + and /; white space is skipped; padding, of = or ., may be left
    out, and is right if it is there.

    Raises:
      ServingError: It is no base64.
    """
    found = _BASE64.fullmatch(value["b64"].translate(_ASCII_SPACE))
    if found is None or len(found[1]) % 4 == 1 or len(found[2]) not in (0, -len(found[1]) % 4):
        raise invalid("Unable to base64 decode")
    return base64.b64decode(found[1] + "=" * (-len(found[1]) % 4))


def plain(array: np.ndarray, as_bytes: bool) -> Any:
    """Nested lists of what JSON has.

    Args:
      array: Of any shape and of a type that JSON can show.
      as_bytes: Whether strings are to be written as {"b64": TEXT}.

    Returns:
      For each float of 32 bits or less, the number with no more digits than it has: 0.2 instead of
      0.20000000298023224. Strings that are no UTF-8 have U+FFFD in the places that are wrong.
    """
    if array.dtype == object:
        return _nested([_text(value, as_bytes) for value in array.reshape(-1)], array.shape)
    if array.dtype.kind in "iub" or array.dtype == np.float64:
        return array.tolist()
    return _nested(_shortest(array.reshape(-1)).tolist(), array.shape)


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def type_of(value: Any) -> str:
    """JSON's name of a value's type."""
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
    """The text; raises where half of a surrogate pair is escaped."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "surrogateescape")
    if ("\\ud" in text or "\\uD" in text) and any(one[1] for one in _ESCAPES.finditer(text)):
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.")
    return text


def _may_be_large(body: bytes) -> bool:
    """Whether there may be a number beyond 64 bits; looked for by what is fast on megabytes."""
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
    """An integer of 64 bits; what is larger is a float in RapidJSON."""
    if len(text) <= _MOST_DIGITS and _INT64_MIN <= (number := int(text)) <= _UINT64_MAX:
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
        _refuse_twice([key for key, _ in pairs])
    return found


def _refuse_twice(keys: list[str]) -> NoReturn:
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"The key {shown(twice)} stands twice in one object.")


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_CAREFUL_DECODER = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, object_pairs_hook=_object
)


def _text(value: bytes, as_bytes: bool) -> Any:
    if as_bytes:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def _shortest(values: np.ndarray) -> np.ndarray:
    """float64 that print with as few digits as WriteDecimal of json_tensor.cc writes."""
    wide = values.astype(np.float64)
    found = np.array([float(f"{value:.6g}") for value in wide.tolist()], dtype=np.float64)
    with np.errstate(over="ignore"):
        differs = found.astype(values.dtype) != values
    found[differs] = [float(f"{value:.9g}") for value in wide[differs].tolist()]
    return found


def _nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """Flat values as lists of lists; a scalar as itself."""
    flat = np.empty(len(values), dtype=object)
    flat[:] = values
    return flat.reshape(shape).tolist()
