"""Writes everything that a run logs (without secrets) or prints to its log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from base.redaction import redacted


class _RedactingFormatter(logging.Formatter):
    """A formatter that removes secrets; TFX logs its metadata connection with the password."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _Progress(logging.Handler):
    """Shows the log messages of our own components on the screen."""

    def __init__(self, show: Callable[[str], None]):
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("components.", "pipeline.")):
            self._show(record.getMessage())


@contextlib.contextmanager
def captured_output(path: Path, show: Callable[[str], None]) -> Iterator[TextIO]:
    """Sends logging, stdout and stderr of this process and its children to `path`.

    Args:
      path: Path of the log file, which is created.
      show: Function that is called with each progress message of a component.

    Yields:
      The terminal, for messages to a person.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    saved = os.dup(1), os.dup(2)
    file = path.open("a", encoding="utf-8", errors="replace")
    for descriptor in (1, 2):  # native code bypasses sys.stderr
        os.dup2(file.fileno(), descriptor)
    handler = logging.StreamHandler(file)
    handler.setFormatter(_RedactingFormatter())
    root, progress = logging.getLogger(), _Progress(show)
    before = root.handlers[:], root.level
    root.handlers[:] = [handler, progress]
    root.setLevel(logging.INFO)
    for ours in ("components", "pipeline"):
        logging.getLogger(ours).setLevel(logging.DEBUG)
    # TFX logs through absl, and saving a model earlier in this process left it at WARNING.
    logging.getLogger("absl").setLevel(logging.NOTSET)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        root.handlers[:], root.level = before
        for number, descriptor in enumerate(saved, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        terminal.flush()
        file.close()
