"""Errors that users read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

# Types of the problems that base/section.py reports; their messages are complete.
UNKNOWN_KEY, REPLACED_KEY = "unknown_key", "replaced_key"


class ComponentError(RuntimeError):
    """A failure that its message explains in one line, with the next step.

    Runners show the message as it is. Any other exception is shown as a bug, with its stack trace
    in the log.
    """


def first_problem(error: ValidationError) -> str:
    """Returns a pydantic error as one line: the dotted key, what is wrong, and what was received.

    Wrong keys come before wrong values, which may belong to another key.
    """
    return all_problems(error)[0]


def all_problems(error: ValidationError) -> list[str]:
    """Returns a line for each problem of a pydantic error; see first_problem."""
    problems: list[Mapping[str, Any]] = [*error.errors()]
    wrong_keys = [problem for problem in problems if problem["type"] in (UNKNOWN_KEY, REPLACED_KEY)]
    others = [problem for problem in problems if problem not in wrong_keys]
    return [_one_line(problem) for problem in (*wrong_keys, *others)]


def _one_line(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in (UNKNOWN_KEY, REPLACED_KEY):
        return f"{key}: {problem['msg']}"
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its spelling"
    if problem["type"] == "missing":
        return f"{key}: this key is required"
    received = problem.get("input")
    # A section is not shown, because it may hold a secret.
    is_short = not isinstance(received, Mapping) and len(str(received)) < 60
    shown = f". Received: {received}" if is_short else ""
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}{shown}"
