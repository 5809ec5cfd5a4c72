"""The process of a run, forked from one that has TFX loaded already: seconds less an hour.

The process that is forked has libraries only, and none of this project's own code: a run reads that
as it is now, as `python local_runner.py` does, and shares no state with the run before it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

_RUNNER = Path(__file__).resolve().parents[2] / "local_runner.py"
_LIBRARIES = (
    "tensorflow",
    "tf_keras",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_transform.beam",
    "tfx.v1",
    "tfx.orchestration.beam.beam_dag_runner",
    "pyspark.sql",
)
_context = multiprocessing.get_context("forkserver")


class RunProcess:
    """A run of local_runner.py.

    Args:
      arguments: of it.
      log: see `load_ahead`.
    """

    def __init__(self, arguments: Sequence[str], log: Path):
        load_ahead(log)
        self._reader, writer = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_run, args=([*arguments], writer))
        self._process.start()
        writer.close()

    def lines(self) -> Iterator[str]:
        """What it prints, until it ends."""
        with open(self._reader.fileno(), encoding="utf-8", errors="replace", closefd=False) as text:
            yield from text

    def interrupt(self) -> None:
        """As Ctrl-C."""
        if self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Its exit status; negative: the signal that killed it."""
        self._process.join()
        self._reader.close()
        return self._process.exitcode or 0


def load_ahead(log: Path) -> None:
    """Has the libraries loaded in the background; it does nothing where they are.

    Args:
      log: gets what they print when they are loaded.
    """
    # Before TensorFlow is imported, as local_runner.py has it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    _context.set_forkserver_preload([*_LIBRARIES])
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with log.open("a") as file:
        os.dup2(file.fileno(), 2)
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _run(arguments: list[str], output: Connection) -> None:
    os.setsid()  # Ctrl-C reaches it through us, once
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    os.environ["COLUMNS"] = "120"
    sys.argv = [str(_RUNNER), *arguments]
    sys.path.insert(0, str(_RUNNER.parent))
    runpy.run_path(str(_RUNNER), run_name="__main__")
