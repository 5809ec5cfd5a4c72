"""The error a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


class ComponentError(RuntimeError):
    """A failure that is explained in one line: what is wrong, and what to do next.

    Runners show its text as it is; any other exception is shown as a fault of the program, with
    its stack trace in the log.
    """


def first_problem(error: ValidationError) -> str:
    """A pydantic error as one line: the dotted key, and what is wrong with it."""
    problem: Mapping[str, Any] = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or mend its spelling"
    if problem["type"] == "missing":
        return f"{key}: this key is required"
    given = str(problem.get("input"))
    shown = f" (given: {given})" if len(given) < 60 else ""
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}{shown}"
