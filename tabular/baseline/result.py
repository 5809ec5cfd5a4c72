"""The result of a comparison, which reports read without TensorFlow."""

from __future__ import annotations

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

_CONFIG = ConfigDict(extra="ignore")


@dataclass(frozen=True, config=_CONFIG)
class Comparison:
    """Trees that were trained and judged.

    Attributes:
      metrics: Name -> value on the judged split, without undefined ones.
      intervals: Name -> its 95 % interval, (low, high), where it is known.
      split: Name of the judged split.
      judged_rows: Number of judged rows with a weight above 0.
      rows: Number of rows of the training split.
      learned_rows: Number of rows that the trees were fitted to.
      iterations: Number of boosting iterations.
      columns: Names of the columns that trees had.
      notes: Lines that say what the trees did not read, or how they differ from the network.
    """

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    split: str
    judged_rows: int
    rows: int
    learned_rows: int
    iterations: int
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Returns the attributes as a JSON object."""
        return _adapter().dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str) -> Comparison | None:
        """Returns what `to_json` wrote; None if the text is something else."""
        try:
            return _adapter().validate_json(text)
        except ValidationError:
            return None


def _adapter() -> TypeAdapter[Comparison]:
    return TypeAdapter(Comparison)
