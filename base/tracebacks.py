"""Reads the chain of exceptions behind a failure, from an exception or a worker's traceback.

Worker processes (Beam's workers, Spark's tasks) send an exception as the text of its traceback,
which then arrives in the message of a RuntimeError.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from base.errors import ComponentError, first_problem

TRACEBACK = "Traceback (most recent call last):"
_DIRECT = "The above exception was the direct cause of the following exception:"
_LATER = "During handling of the above exception, another exception occurred:"
_BETWEEN = re.compile(rf"\n\s*(?P<how>{re.escape(_DIRECT)}|{re.escape(_LATER)})\n\s*")
_GROUP = "Exception Group Traceback"
_MARGIN = re.compile(r"^ *(?:\| ?|\+[-+ ]*)", re.MULTILINE)  # of the lines of a group
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
_LAST_LINE = re.compile(r"^(?P<name>[A-Za-z_][\w.<>]*)(?:: (?P<text>.*))?$", re.DOTALL)
# Files of libraries and of generated code.
_FOREIGN = re.compile(
    r"[/\\](?:site|dist)-packages[/\\]|[/\\]lib(?:64)?[/\\]python3|^<|__autograph_generated_file"
    r"|[/\\](?:pyspark|py4j)[^/\\]*\.zip[/\\]"
)
# Frames before TFX's launcher belong to a runner, never to the cause.
_LAUNCHER = re.compile(r"[/\\]tfx[/\\]orchestration[/\\]")


@dataclasses.dataclass(frozen=True)
class Raised:
    """One exception of a chain.

    Attributes:
      name: Class without its module; empty if the text suffices.
      text: Message, possibly of many lines.
      place: Innermost line of the project's or an application's code, such as
        "shop/etl.py, line 12"; empty if the stack has none.
      explained: Whether it is a ComponentError, whose text explains the failure.
      direct: Whether it was raised `from` the next one of the chain.
    """

    name: str
    text: str
    place: str = ""
    explained: bool = False
    direct: bool = False


def chain_of(error: BaseException) -> list[Raised]:
    """Returns an exception and its chain of causes and contexts, down to the first."""
    chain: list[Raised] = []
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        within = getattr(current, "exceptions", ())  # of an ExceptionGroup
        context = None if current.__suppress_context__ else current.__context__
        following = current.__cause__ or (within[0] if within else None)
        sent = chain_of_text(str(current))
        chain += sent or [_raised(current, direct=following is not None)]
        current = following or context
    return chain


def chain_of_text(text: str) -> list[Raised]:
    """Returns the chain of a text's first traceback, outermost first; empty without one."""
    if _GROUP in text:
        text = _MARGIN.sub("", text)
    start = text.find(TRACEBACK)
    if start < 0:
        return []
    first, *later = _BETWEEN.split(text[start + len(TRACEBACK) :])
    chain = _of_block(first)
    for how, block in zip(later[::2], later[1::2], strict=True):
        outer = _of_block(block.removeprefix(TRACEBACK))
        if outer:
            outer[-1] = dataclasses.replace(outer[-1], direct=how == _DIRECT)
        chain = outer + chain
    return chain


def place_of(error: BaseException) -> str:
    """Returns the innermost line of the project's or an application's code, or ''."""
    frames = traceback.extract_tb(error.__traceback__)
    return _innermost((frame.filename, frame.lineno or 0) for frame in frames)


def place_in(text: str) -> str:
    """Returns the same as `place_of` for the frames in a text."""
    return _innermost((found["file"], int(found["line"])) for found in _FRAME.finditer(text))


def _of_block(block: str) -> list[Raised]:
    """Reads one block of a traceback: frames, and the line of the exception."""
    lines = block.lstrip("\n").splitlines()
    end = next((n for n, line in enumerate(lines) if line[:1].strip()), None)
    if end is None:
        return []
    message = "\n".join(lines[end:])
    sent = chain_of_text(message)
    if sent:
        return sent
    found = _LAST_LINE.match(message)
    if not found:
        return []
    name, text = found["name"], (found["text"] or "").strip()
    if name == _qualified(shutil.Error):
        with contextlib.suppress(ValueError, SyntaxError):
            return [Raised("", _listed(ast.literal_eval(text), _NOT_COPIED))]
    place = place_in(message) or place_in("\n".join(lines[:end]))
    return [Raised(name.rpartition(".")[2], text, place, name in _explained())]


def _raised(error: BaseException, direct: bool) -> Raised:
    name, text = type(error).__name__, str(error)
    if isinstance(error, ValidationError):
        name, text = "", first_problem(error)
    items = error.args[0] if len(error.args) == 1 else None
    if isinstance(items, list) and items:
        name, text = "", _listed(items, _NOT_COPIED if isinstance(error, shutil.Error) else _ERRORS)
    place = place_in(text) or place_of(error)
    if isinstance(error, SyntaxError) and error.filename:
        text, place = error.msg, _innermost(iter([(error.filename, error.lineno or 0)]))
    return Raised(name, text, place, isinstance(error, ComponentError), direct)


_NOT_COPIED = ("file could not be copied", "files could not be copied")
_ERRORS = ("error", "errors")


def _listed(items: list[Any], what: tuple[str, str]) -> str:
    """Returns the number of items and the first one."""
    first = items[0]
    if isinstance(first, tuple) and len(first) == 3:
        source, destination, why = first
        shown = f"{source} to {destination}: {why}"
    else:
        shown = f"{type(first).__name__}: {first}" if isinstance(first, Exception) else str(first)
    if len(items) == 1:
        return f"1 {what[0]}: {shown}"
    return f"{len(items):,} {what[1]}; the first: {shown}"


def _innermost(frames: Iterator[tuple[str, int]]) -> str:
    place = ""
    for file, line in frames:
        if _LAUNCHER.search(file):
            place = ""
        elif not _FOREIGN.search(file):
            path = Path(file)
            # Compiled libraries show paths of their build machine.
            if path.is_absolute() or path.is_file():
                folder = Path.cwd()
                shown = path.relative_to(folder) if path.is_relative_to(folder) else path
                place = f"{shown}, line {line}"
    return place


def _explained() -> set[str]:
    """Returns the names of ComponentError and its subclasses, as tracebacks show them."""
    found, waiting = set(), [ComponentError]
    while waiting:
        kind = waiting.pop()
        found.add(_qualified(kind))
        waiting += kind.__subclasses__()
    return found


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
