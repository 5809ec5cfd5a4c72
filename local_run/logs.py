"""The run's log file: all that is logged (without secrets) or printed while a run lasts."""

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
    """Without secrets: TFX logs its whole metadata connection, password included."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class _Progress(logging.Handler):
    """Hands what our own components say to the screen."""

    def __init__(self, show: Callable[[str], None]):
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("components.", "pipeline.")):
            self._show(record.getMessage())


@contextlib.contextmanager
def captured_output(path: Path, show: Callable[[str], None]) -> Iterator[TextIO]:
    """Within it, logging, stdout and stderr of this process and its children go to `path`.

    Args:
      path: the log file; it is made.
      show: called with each progress message of a component.

    Yields:
      The terminal, for what a person is to see.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    saved = os.dup(1), os.dup(2)
    file = path.open("a", encoding="utf-8", errors="replace")
    for descriptor in (1, 2):  # native code does not ask sys.stderr
        os.dup2(file.fileno(), descriptor)
    handler = logging.StreamHandler(file)
    handler.setFormatter(_RedactingFormatter())
    root, progress = logging.getLogger(), _Progress(show)
    before = root.handlers[:], root.level
    root.handlers[:] = [handler, progress]
    root.setLevel(logging.INFO)
    for ours in ("components", "pipeline"):
        logging.getLogger(ours).setLevel(logging.DEBUG)
    # TFX logs through it, and whoever saved a model before in this process has left it at WARNING.
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
