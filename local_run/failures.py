"""An exception as one line for a person."""

from __future__ import annotations

import re

from pydantic import ValidationError

from components.errors import ComponentError, first_problem

_BEAM_TAIL = re.compile(r"\s*\[while running '[^']*'\]")


def cause_of(error: BaseException) -> BaseException:
    """The exception a component explained itself with, or the first one of the chain."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        if isinstance(current, ComponentError):
            return current
        seen.append(current)
        context = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or context
    return seen[-1]


def one_line(error: BaseException) -> str:
    """What is wrong and what to do, without a stack trace."""
    cause = cause_of(error)
    lines = [line.strip() for line in _BEAM_TAIL.sub("", str(cause)).splitlines() if line.strip()]
    text = lines[0] if lines else type(cause).__name__
    if isinstance(cause, ComponentError):
        return text
    if isinstance(cause, ValidationError):
        return first_problem(cause)
    if isinstance(cause, OSError) and cause.strerror:
        where = f" ({cause.filename})" if cause.filename else ""
        return f"{cause.strerror}{where}; mend that and run again"
    return f"{type(cause).__name__}: {text[:300]}"
