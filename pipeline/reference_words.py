"""Says in plain words what a key of a config takes: its type, its bounds and its default."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NOT_GIVEN = "**required**"
_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    Any: "any value",
}
_PLURAL = {"true or false": "truth values"}
_ANY_OF = {  # types that are described together
    frozenset({int, float}): "number",
    frozenset({str, bool, int, float}): "value",
}


def type_words(annotation: Any, anchors: Mapping[type, str], bounds: Sequence[Any] = ()) -> str:
    """Returns what a key takes, in Markdown.

    Args:
      annotation: Type of the key.
      anchors: Class of a section -> anchor of its table.
      bounds: Limits of the value, as pydantic's FieldInfo has them.
    """
    if annotation in anchors:
        return f"[section](#{anchors[annotation]})"
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_words(inner[0], anchors, [*inner[1:], *bounds])
    if origin in (Union, types.UnionType):
        return _either(inner, anchors, bounds)
    if origin is Literal:
        return any_of(_values(annotation))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        name, value = (type_words(one, anchors) for one in inner)
        name = "name" if name == "text" else name
        return f"map of {_plural(name)} to {_plural(value)}{_length(bounds)}"
    if isinstance(origin, type) and issubclass(origin, Collection):
        return f"list of {_plural(type_words(inner[0], anchors))}{_length(bounds)}"
    return f"{_PLAIN[annotation]}{_range(bounds)}"


def any_of(words: Sequence[str]) -> str:
    """Returns `a, b or c`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _either(kinds: Sequence[Any], anchors: Mapping[type, str], bounds: Sequence[Any]) -> str:
    given = [kind for kind in kinds if kind is not type(None)]
    together = _ANY_OF.get(frozenset(given)) if all(isinstance(k, type) for k in given) else None
    words = [together] if together else []
    for kind in [] if together else given:
        is_literal = typing.get_origin(kind) is Literal
        words += _values(kind) if is_literal else [type_words(kind, anchors, bounds)]
    if type(None) not in kinds:
        return any_of([*dict.fromkeys(words)])
    comma = "," if any("," in word for word in words) else ""
    return (
        f"{any_of([*dict.fromkeys(words)])}{comma} or null"
        if len(words) == 1
        else any_of([*dict.fromkeys(words), "null"])
    )


def _values(literal: Any) -> list[str]:
    return [f"`{value}`" for value in typing.get_args(literal)]


def _plural(words: str) -> str:
    if words in _PLURAL:
        return _PLURAL[words]
    words = words.replace("[section]", "[sections]")
    kinds = [re.sub(r"^(text|number|whole number|path|value|name|list|map)\b", r"\1s", word)
             for word in words.split(" or ")]  # fmt: skip
    return " or ".join(kinds)


def _length(bounds: Sequence[Any]) -> str:
    return ", at least one" if _limit(bounds, "min_length") == 1 else ""


def _limit(bounds: Sequence[Any], name: str) -> Any:
    return next(
        (getattr(one, name) for one in bounds if getattr(one, name, None) is not None), None
    )


def _range(bounds: Sequence[Any]) -> str:
    ge, gt, le, lt = (_limit(bounds, name) for name in ("ge", "gt", "le", "lt"))
    least = f"above {gt:g}" if gt is not None else f"{ge:g}" if ge is not None else ""
    most = f"below {lt:g}" if lt is not None else f"{le:g}" if le is not None else ""
    if least and most and gt is None and lt is None:
        return f" from {least} to {most}"
    least = f"at least {least}" if least and gt is None else least
    most = f"at most {most}" if most and lt is None else most
    limits = " and ".join(filter(None, [least, most]))
    return f", {limits}" if limits else ""


def default_words(field: FieldInfo | dataclasses.Field[Any]) -> str:
    """Returns the default of a key as a config would write it, in Markdown."""
    if isinstance(field, FieldInfo):
        if field.is_required():
            return NOT_GIVEN
        if field.validate_default:  # a validator takes it from the section's task
            return "by the task"
        value = field.get_default(call_default_factory=True)
    elif field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return NOT_GIVEN
    if isinstance(value, BaseModel) and not value.model_dump(exclude_defaults=True):
        return "its defaults"
    return f"`{as_yaml(value)}`"


def as_yaml(value: Any) -> str:
    """Returns a value as a config writes it, on one line."""
    if isinstance(value, str) and value:
        return value
    text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n...\n").strip().replace("''", '""')


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def sentence(text: str, root: Path) -> str:
    """Returns a description as sentences in Markdown, which links the files that it names.

    Args:
      text: Description of a key or of a section, as the code has it.
      root: Folder that paths in it are relative to.
    """
    text = " ".join(text.split())
    if re.match(r"[a-z]+[ ,;.]|[a-z]+$", text):
        text = text[0].upper() + text[1:]
    if text[-1] not in ".?!":
        text += "."
    parts = re.split(r"(`[^`]*`)", text)  # code is left as it is
    return "".join(part if n % 2 else _marked(part, root) for n, part in enumerate(parts))


_GROUP = r"\w*(?:\{(?:[^{}]|\{[^{}]*\})*\}|\[[^\[\]]*\])"  # such as {min: 0.5} and local[2]
_PATH = r"\b[a-z_]+/(?:[a-zA-Z0-9_/]*[a-zA-Z0-9_](?:\.[a-z]+)?)?"
_IDENTIFIER = r":?\b[a-z]+(?:_[a-z0-9]+)+\b(?:\.py\b)?"


def _marked(text: str, root: Path) -> str:
    def mark(found: re.Match[str]) -> str:
        word = found[0]
        if "/" in word and word[-1] not in "}]":
            return f"[{word}](../{word})" if (root / word).exists() else word
        return f"`{word}`"

    return re.sub(rf"{_GROUP}|{_PATH}|{_IDENTIFIER}", mark, text).replace("|", "\\|")
