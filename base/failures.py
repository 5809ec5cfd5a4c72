"""Describes a failure in one line: the innermost cause, its place and the next step."""

from __future__ import annotations

import dataclasses
import re

from pydantic import ValidationError

from base.errors import first_problem
from base.tracebacks import Raised, chain_of, chain_of_text

_LONGEST = 300  # characters of a library's message
_LOG = "the log has the whole trace"
# Kind and message of a known failure -> next step.
_NEXT_STEPS: tuple[tuple[str, str], ...] = (
    (r"^ModuleNotFoundError: ", "add it to requirements/, run `make setup`, and run again"),
    (r"^MemoryError|^ResourceExhaustedError|OOM when allocating|Cannot allocate memory",
     "read less data at once, or use a machine with more memory"),
    (r"No space left on device|Disk quota exceeded", "free space and run again"),
    (r"Permission denied", "check the owner and the mode of that path, and run again"),
)  # fmt: skip
_OS_ERROR = re.compile(r"\[Errno (?P<number>\d+)\] (?P<why>.*?)(?:: '(?P<file>.*)')?$")

# Parts of messages that do not help a user.
_FRAMES = re.compile(r'^([ \t]*)File "[^"\n]*", line \d+.*(?:\n\1[ \t]+.*)*', re.MULTILINE)
_MARKS = re.compile(
    r"\{\{function_node [^}]*\}\} *|\[\[\{\{node.*?\}\}\]\]|\[Op:[^\]]*\](?: name:.*)?"
    r"|\[while running '[^']*'\]|^[ \t]*\(\d+\) [A-Z_]+: *|\[type=\w+, input_value=.*\]$",
    re.MULTILINE,
)
_LEADS = re.compile(
    r"in user code:|Graph execution error:|Detected at node .*|Node: .*|\d+ root error\(s\) found\."
    r"|<stack traces unavailable>|(?:\w+: )?Exception encountered when calling .*"
)
_COUNT = re.compile(r"\d+ validation errors? for .*")  # the first line of pydantic's errors


def one_line(error: BaseException) -> str:
    """Returns what is wrong and what to do, without a stack trace.

    The text of a ComponentError says both. The next step is added to any other cause.
    """
    if isinstance(error, ValidationError):
        return first_problem(error)
    found = _cause_in(chain_of(error))
    return found.line if found.explained else f"{found.line}; {_next_step(found)}"


def cause(error: BaseException) -> str:
    """Returns what is wrong, without the next step."""
    return _cause_in(chain_of(error)).line


def cause_in(text: str) -> str | None:
    """Returns what is wrong by the first traceback within a text; None if there is none."""
    chain = chain_of_text(text)
    return _cause_in(chain).line if chain else None


@dataclasses.dataclass(frozen=True)
class _Cause:
    """The innermost cause of a failure.

    Attributes:
      line: Kind, message and place.
      kind: Kind and message of the innermost exception.
      explained: Whether it is a ComponentError.
      is_os_error: Whether it is an error of the operating system.
    """

    line: str
    kind: str = ""
    explained: bool = False
    is_os_error: bool = False


def _cause_in(chain: list[Raised]) -> _Cause:
    """Finds the innermost cause: a ComponentError anywhere in the chain, or else the last one.

    Wrappers that repeat an exception are skipped. Only an explicit `raise ... from` links an
    exception to its cause; one raised during handling is a cause of its own.
    """
    for raised in chain:
        if raised.explained:
            return _Cause(summary(raised.text), explained=True)
    found, deeper = _behind_wrappers(chain)
    line = _described(found)
    while found.direct and deeper:
        outer = found
        found, deeper = _behind_wrappers(deeper)
        found = dataclasses.replace(found, place=found.place or outer.place)
    kind = _described(found)
    if kind not in line and summary(found.text) not in line:
        line += f"; caused by {kind}"
    if found.place:
        line += f" ({found.place})"
    return _Cause(line, kind, is_os_error=bool(_OS_ERROR.match(found.text)))


def summary(message: str) -> str:
    """Returns the line of a message that says what is wrong.

    TensorFlow surrounds it with the nodes of its graph and their origins.
    """
    text = _MARKS.sub("", _FRAMES.sub("", message))
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not _LEADS.fullmatch(line)]
    if not telling:
        return next(filter(None, lines), "")
    if _COUNT.fullmatch(telling[0]):  # the key and the problem follow
        return ": ".join(telling[:3])
    if telling[0].endswith(":") and len(telling) > 1:
        return f"{telling[0]} {telling[1]}"
    return telling[0]


def _behind_wrappers(chain: list[Raised]) -> tuple[Raised, list[Raised]]:
    """Returns the first exception that does not repeat the next one, and those after it."""
    found, *deeper = chain
    while deeper and _repeats(found, deeper[0]):
        inner, *deeper = deeper
        # If the wrapper's message quotes the code, the wrapper has the better place.
        place = found.place if 'File "' in found.text else inner.place or found.place
        found = dataclasses.replace(inner, place=place)
    return found, deeper


def _repeats(outer: Raised, inner: Raised) -> bool:
    ours, its = (_MARKS.sub("", one.text).strip().strip("'\"").strip() for one in (outer, inner))
    if outer.name == inner.name and ours == its:
        return True
    return not outer.direct and bool(its) and f"{inner.name}: {its}" in ours


def _described(raised: Raised) -> str:
    text = summary(raised.text).removeprefix(f"{raised.name}: ")
    if system := _OS_ERROR.match(text):
        files = (system["file"] or "").replace("' -> '", " to ")
        return f"{system['why']}: {files}" if files else system["why"]
    return ": ".join(filter(None, (raised.name, text[:_LONGEST])))


def _next_step(found: _Cause) -> str:
    for pattern, step in _NEXT_STEPS:
        if re.search(pattern, found.kind):
            return step
    return "fix that and run again" if found.is_os_error else _LOG
