"""Repeats an action in the background, such as a measurement or a line of progress."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeated(action: Callable[[], object], seconds: float) -> Iterator[None]:
    """Calls an action again and again until the end of the block.

    Args:
      action: Function that is called in a thread of its own.
      seconds: Wait before each call.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
