"""A process that only has TFX's libraries loaded: Beam's workers are forked from it.

Standard library only: it loads on another core while this process loads the same.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.forkserver
import os
from collections.abc import Iterator

_MOST_WORKERS = 4  # each holds a model and batches: 1.4 GB with a million rows
_LIBRARIES = (
    "tensorflow",
    "tf_keras",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_transform.beam",
    "tfx.components.evaluator.executor",
    "tfx.components.statistics_gen.executor",
    "tfx.components.transform.executor",
    "apache_beam.runners.worker.sdk_worker",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
)
context = multiprocessing.get_context("forkserver")


def worker_count() -> int:
    """How many workers this machine has cores for."""
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def load_ahead() -> None:
    """Starts it, where there will be workers."""
    if worker_count() == 1:
        return
    context.set_forkserver_preload([*_LIBRARIES])
    multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """While libraries are imported: what they make is no garbage, and is never looked through.

    Python would go through all of it, half a second each time: with 200,000 rows 9 s of the main
    process, and half to 1.3 s of each worker.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
