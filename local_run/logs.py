"""The run's log file: all that is logged (without secrets) or printed while a run lasts."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TextIO

from google.protobuf import text_encoding


class _RedactingFormatter(logging.Formatter):
    """Replaces secret values: TFX logs its whole metadata connection, password included."""

    def __init__(self, secrets: Collection[str]):
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # Also as protobuf's text format and Python's repr write them, with escapes.
        self._secrets = {
            form
            for secret in secrets
            for form in (
                secret,
                repr(secret)[1:-1],
                text_encoding.CEscape(secret.encode(), as_utf8=False),
                text_encoding.CEscape(secret.encode(), as_utf8=True),
            )
            if form
        }

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


class _Progress(logging.Handler):
    """Hands what our own components say to the screen."""

    def __init__(self, show: Callable[[str], None]):
        super().__init__(logging.INFO)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(("components.", "pipeline.")):
            self._show(record.getMessage())


@contextlib.contextmanager
def captured(path: Path, secrets: Collection[str], show: Callable[[str], None]) -> Iterator[TextIO]:
    """Within it, logging, stdout and stderr of this process and its children go to `path`.

    Args:
      path: the log file; it is made.
      secrets: values that are replaced in what is logged.
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
    handler.setFormatter(_RedactingFormatter(secrets))
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
