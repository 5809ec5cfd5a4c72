"""The base class of config sections, and the error for a config that cannot be used.

An unknown key is reported with the known keys and the closest of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from base.errors import REPLACED_KEY, UNKNOWN_KEY


class ConfigError(ValueError):
    """A config cannot be used; the message says why in one line."""


class Section(BaseModel):
    """A part of a config, immutable and without unknown keys.

    Class attributes:
      REPLACED: Former key -> replacement, as a format string in which `{value}` stands for the
        given value and other braces are doubled.

            REPLACED = {"min_auc": "thresholds: {{auc: {{min: {value}}}}}"}
    """

    REPLACED: ClassVar[dict[str, str]] = {}

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def known_keys(cls) -> list[str]:
        """Returns the keys as a config writes them, by alias if they have one."""
        return keys_of(cls)

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys_only(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            check_keys(given, cls.known_keys(), cls.REPLACED)
        return given


def keys_of(model: type[BaseModel]) -> list[str]:
    """Returns the keys of a pydantic model in the order of their declaration."""
    return [field.alias or name for name, field in model.model_fields.items()]


def check_keys(
    given: Mapping[str, Any], known: Collection[str], replaced: Mapping[str, str] | None = None
) -> None:
    """Checks the keys of a section before its values.

    Args:
      given: The section as it was read.
      known: Allowed keys.
      replaced: Former keys, as in `Section.REPLACED`.

    Raises:
      ValidationError: One problem for each key that is not among `known`.
    """
    problems = [
        InitErrorDetails(
            type=_problem(str(key), value, known, replaced or {}), loc=(key,), input=value
        )
        for key, value in given.items()
        if key not in known
    ]
    if problems:
        raise ValidationError.from_exception_data("section", problems)


def _problem(
    key: str, value: Any, known: Collection[str], replaced: Mapping[str, str]
) -> PydanticCustomError:
    if key in replaced:
        successor = replaced[key].format(value=value)
        return PydanticCustomError(REPLACED_KEY, f"{key} was replaced by {successor}")
    close = closest(key, known)
    suggestion = f" Did you mean {close}?" if close else ""
    text = f"unknown key '{key}'.{suggestion} Known keys: {', '.join(known)}"
    return PydanticCustomError(UNKNOWN_KEY, text)


def closest(name: str, known: Collection[str]) -> str | None:
    """Returns the known name that is spelled most like `name`, or None if none is similar."""
    close = difflib.get_close_matches(name, known, n=1)
    return close[0] if close else None
