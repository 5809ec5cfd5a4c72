"""The error a person reads."""

from __future__ import annotations


class ComponentError(RuntimeError):
    """A failure that is explained in one line: what is wrong, and what to do next.

    Runners show its text as it is; any other exception is shown as a fault of the program, with
    its stack trace in the log.
    """
