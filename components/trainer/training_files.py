"""Reads what the Trainer says of a training, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from base.foreign_json import parse_object
from base.shared_names import TRAINING_FACTS
from metadata.artifact_files import files_below


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """The size of a training.

    Attributes:
      rows: Number of training rows.
      rounds: Number of rounds until it stopped.
      by_rows: Parameters that were chosen by the number of rows, as name -> value; empty if the
        config chose them.
      val_loss: Lowest loss on the split eval, before calibration; None of an earlier version.
      constant_loss: Loss of always predicting the mean label of that split, or its class shares.
    """

    rows: int
    rounds: int
    by_rows: Mapping[str, Any]
    val_loss: float | None = None
    constant_loss: float | None = None

    @property
    def chosen(self) -> str:
        """The chosen parameters as text; empty if there are none."""
        return ", ".join(f"{name} {value}" for name, value in self.by_rows.items())

    @property
    def problem(self) -> str | None:
        """A sentence if the network is no better than a constant; else None."""
        if self.val_loss is None or self.constant_loss is None:
            return None
        if self.val_loss < self.constant_loss:
            return None
        return (
            f"the network's loss on split eval, {self.val_loss:.4g}, is no lower than that of "
            f"always predicting the mean, {self.constant_loss:.4g}: it has learned nothing, or has "
            "diverged. Lower learning_rate or class_weights, or look at the features' scale"
        )


def read_training(uri: str) -> TrainingFacts | None:
    """Reads a ModelRun artifact; None if it has no readable facts, as of another run_fn."""
    for path in files_below(uri, TRAINING_FACTS):
        try:
            found = parse_object(path.read_text("utf-8"))
            by_rows = found["by_rows"]
            if isinstance(by_rows, dict):
                losses = (found.get(name) for name in ("val_loss", "constant_loss"))
                known = (None if one is None else float(one) for one in losses)
                return TrainingFacts(int(found["rows"]), int(found["rounds"]), by_rows, *known)
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None
