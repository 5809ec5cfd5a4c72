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
    """

    rows: int
    rounds: int
    by_rows: Mapping[str, Any]

    @property
    def chosen(self) -> str:
        """The chosen parameters as text; empty if there are none."""
        return ", ".join(f"{name} {value}" for name, value in self.by_rows.items())


def read_training(uri: str) -> TrainingFacts | None:
    """Reads a ModelRun artifact; None if it has no readable facts, as of another run_fn."""
    for path in files_below(uri, TRAINING_FACTS):
        try:
            found = parse_object(path.read_text("utf-8"))
            by_rows = found["by_rows"]
            if isinstance(by_rows, dict):
                return TrainingFacts(int(found["rows"]), int(found["rounds"]), by_rows)
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None
