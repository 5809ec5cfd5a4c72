"""One worker or several, as TF_CONFIG says. Without TF_CONFIG there is one worker."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from base.atomic_files import whole_folder


@dataclasses.dataclass(frozen=True)
class Shard:
    """Share `index` of `count` equal shares."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0


SINGLE_WORKER = Shard()


def this_worker() -> Shard:
    """Returns the position of this process among the workers in TF_CONFIG."""
    described = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = described.get("cluster", {}).get("worker", [])
    return Shard(described["task"]["index"], len(workers)) if workers else SINGLE_WORKER


def strategy(worker: Shard) -> tf.distribute.Strategy:
    """Returns a strategy that mirrors weights on all workers; the default strategy for one."""
    if worker.count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MultiWorkerMirroredStrategy()


def gather_from_workers(values: Sequence[float], current: tf.distribute.Strategy) -> NDArray[Any]:
    """Returns the values of all workers, float64 [workers, values]. Every worker must call it."""
    local = current.run(lambda: tf.constant([values], tf.float64))
    return np.asarray(current.gather(local, axis=0).numpy())


def gather_rows(values: NDArray[Any], current: tf.distribute.Strategy) -> NDArray[Any]:
    """Returns the rows of all workers, [all rows, columns]. Every worker must call it."""
    if current.num_replicas_in_sync == 1:
        return values
    local = current.run(lambda: tf.constant(values))
    return np.asarray(current.gather(local, axis=0).numpy())


def wait_for_all_workers(current: tf.distribute.Strategy) -> None:
    """Returns when every worker has called it."""
    gather_from_workers([0], current)


def export(save: Callable[[str], None], folder: str, worker: Shard) -> None:
    """Saves the chief's model, which appears whole or not at all.

    All workers take part in saving distributed variables, so the others save to a temporary folder.

    Args:
      save: Function that writes into the folder it is given.
      folder: Folder of the chief's model.
      worker: Position of this process among the workers.
    """
    if not worker.is_chief:
        with tempfile.TemporaryDirectory() as elsewhere:
            save(elsewhere)
        return
    with whole_folder(Path(folder)) as partial:
        save(str(partial))
