"""Bounds of a parameter search, for checks that must not import keras-tuner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def corners(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns every choice or bound of every parameter, as one-entry dicts.

    Args:
      space: Parameter -> list of choices, or {"min", "max", "log"}, as in Search.
    """
    return [
        {name: value}
        for name, values in space.items()
        for value in (values if isinstance(values, list) else (values["min"], values["max"]))
    ]
