"""One worker or several: TF_CONFIG decides, as TensorFlow has it; without it, one."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from base.atomic_files import whole_folder


@dataclasses.dataclass(frozen=True)
class Shard:
    """Share `index` of `count`."""

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0


ALONE = Shard()


def this_worker() -> Shard:
    """What this process is among the workers that TF_CONFIG names."""
    described = json.loads(os.environ.get("TF_CONFIG") or "{}")
    workers = described.get("cluster", {}).get("worker", [])
    return Shard(described["task"]["index"], len(workers)) if workers else ALONE


def strategy(worker: Shard) -> tf.distribute.Strategy:
    """Weights mirrored on all workers and gradients summed over them; nothing of it for one."""
    if worker.count == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MultiWorkerMirroredStrategy()


def of_all_workers(values: Sequence[int], current: tf.distribute.Strategy) -> np.ndarray:
    """What every worker has: [workers, values]; each has to ask."""
    local = current.run(lambda: tf.constant([values], tf.int64))
    return current.gather(local, axis=0).numpy()


def all_rows(values: np.ndarray, current: tf.distribute.Strategy) -> np.ndarray:
    """The rows of all workers, [rows of each, columns] to [all rows, columns]; each has to ask."""
    if current.num_replicas_in_sync == 1:
        return values
    local = current.run(lambda: tf.constant(values))
    return current.gather(local, axis=0).numpy()


def wait_for_all(current: tf.distribute.Strategy) -> None:
    """Returns when every worker has come here."""
    of_all_workers([0], current)


def export(save: Callable[[str], None], folder: str, worker: Shard) -> None:
    """Saves by the chief, to appear whole or not at all.

    The other workers save as well, to a folder that is thrown away: saving variables that are
    distributed takes part of all of them.

    Args:
      save: writes into the folder it is given.
      folder: where the chief's shall be.
    """
    if not worker.is_chief:
        with tempfile.TemporaryDirectory() as elsewhere:
            save(elsewhere)
        return
    with whole_folder(Path(folder)) as partial:
        save(str(partial))
