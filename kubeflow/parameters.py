"""Parses NAME=VALUE options of a command line."""

from __future__ import annotations

from collections.abc import Sequence

from base.errors import ComponentError


def parse_pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Returns name -> value.

    Raises:
      ComponentError: An option is not NAME=VALUE.
    """
    found = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise ComponentError(f"{option} must be NAME=VALUE. Received: {one}")
        found[name] = value
    return found
