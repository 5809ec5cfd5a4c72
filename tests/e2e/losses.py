"""Validation losses out of TensorBoard's log."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def validation_losses(folder: Path) -> list[float]:
    """The loss of each round, in order."""
    found = []
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            found += [
                float(tf.make_ndarray(value.tensor))
                for value in event.summary.value
                if value.tag == "epoch_loss"
            ]
    return found
