"""Reads how the threshold of a model was chosen, as tabular/decision.py writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from base.foreign_json import parse_object
from metadata import names
from metadata.artifact_files import files_below


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Costs(_Read):
    """Costs of a review, and of a positive without one."""

    review: float
    missed: float


class Results(_Read):
    """The results of a threshold; None for a number that is undefined."""

    threshold: float
    share: float
    precision: float | None
    recall: float | None
    cost: float | None


class Decision(Results):
    """A threshold with its results on the split that it was chosen on, and other thresholds.

    Attributes:
      chosen_by: Key of `trainer.decision` that decided it.
      budget: Largest share to review; None without a budget.
      costs: Costs of a decision; None without any.
      split: Name of the split.
      rows, positives: Examples and positives of the split.
      warnings: Lines about results that a reader would not expect.
      curve: Other thresholds by rising share.
    """

    chosen_by: Literal["budget", "threshold", "costs"]
    budget: float | None
    costs: Costs | None
    split: str
    rows: int
    positives: int
    warnings: tuple[str, ...]
    curve: tuple[Results, ...]

    @property
    def cost_without_reviews(self) -> float | None:
        """Mean cost of an example if nothing were reviewed; None if it cannot be known."""
        if self.costs is None or self.cost is None or self.recall is None or self.recall >= 1:
            return None
        return (self.cost - self.costs.review * self.share) / (1 - self.recall)


def read_decision(uri: str) -> Decision | None:
    """Reads a Decision artifact; returns None if its file is missing or unreadable."""
    for path in files_below(uri, names.DECISION_FILE):
        try:
            return Decision.model_validate(parse_object(path.read_bytes()))
        except (OSError, ValueError, ValidationError):
            continue
    return None
