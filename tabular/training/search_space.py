"""What a search for parameters may try, for those who check it: keras-tuner is not imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def corners(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns each value that a parameter may get at its ends, one at a time.

    Args:
      space: Parameter -> its choices (a list), or {"min", "max", "log"}; as in Search.
    """
    return [
        {name: value}
        for name, values in space.items()
        for value in (values if isinstance(values, list) else (values["min"], values["max"]))
    ]
