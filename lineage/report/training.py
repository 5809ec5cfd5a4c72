"""Reads training curves from the event files that Keras wrote for TensorBoard."""

from __future__ import annotations

import dataclasses

from tensorboard.compat.proto import event_pb2
from tensorboard.util import tensor_util

from metadata.artifact_files import files_below
from spark_io.examples.small_tfrecords import UNREADABLE, records

_EPOCH = "epoch_"


@dataclasses.dataclass(frozen=True)
class Curve:
    """A metric by round.

    Attributes:
      metric: Name of the metric, e.g. 'loss'.
      rows: 'train' or 'validation'.
      points: Pairs of round (from 1) and value.
    """

    metric: str
    rows: str
    points: tuple[tuple[int, float], ...]


def read_curves(uri: str) -> list[Curve]:
    """Reads the curves of a ModelRun artifact; empty if its files are missing or unreadable."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for path in files_below(uri, "*/events.out.tfevents.*"):
        try:
            for record in records(path):
                event = event_pb2.Event.FromString(record)
                for value in event.summary.value:
                    if value.tag.startswith(_EPOCH):
                        key = (value.tag.removeprefix(_EPOCH), path.parent.name)
                        number = float(tensor_util.make_ndarray(value.tensor))
                        found.setdefault(key, {})[event.step + 1] = number
        except UNREADABLE:
            continue  # a killed training leaves a broken last record
    return [
        Curve(metric, rows, tuple(sorted(points.items())))
        for (metric, rows), points in sorted(found.items())
    ]
