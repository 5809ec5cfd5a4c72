"""The metrics that a config may name: `auc`, `{precision_at: 100}`, `{recall: 0.3}` ...

Many places read a config without computing a metric, so this module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping

HIGHER, LOWER, NEITHER = "higher", "lower", "neither"  # which values are better
CLASSIFICATION, REGRESSION = "classification", "regression"

GROUPED_AUC = "grouped_auc"
POSITIVES, NEGATIVES, EXAMPLES = "positives", "negatives", "example_count"
# NAME/low and NAME/high are the bounds of the 95 % interval of the metric NAME.
LOW, HIGH = "/low", "/high"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of metric.

    Attributes:
      task: CLASSIFICATION or REGRESSION.
      better: Direction of better values, HIGHER, LOWER or NEITHER.
      joint: Text between the kind and its number in a metric's name; empty for a kind without one.
      default: Default of the number; None if a kind with a number has no default.
    """

    task: str
    better: str
    joint: str = ""
    default: float | None = None


KINDS: Mapping[str, Kind] = {
    "auc": Kind(CLASSIFICATION, HIGHER),
    "auc_pr": Kind(CLASSIFICATION, HIGHER),
    "log_loss": Kind(CLASSIFICATION, LOWER),
    "calibration": Kind(CLASSIFICATION, NEITHER),
    "ece": Kind(CLASSIFICATION, LOWER),
    "precision_at": Kind(CLASSIFICATION, HIGHER, "_"),
    "recall_at": Kind(CLASSIFICATION, HIGHER, "_"),
    "precision": Kind(CLASSIFICATION, HIGHER, "_above_", 0.5),
    "recall": Kind(CLASSIFICATION, HIGHER, "_above_", 0.5),
    "accuracy": Kind(CLASSIFICATION, HIGHER, "_above_", 0.5),
    GROUPED_AUC: Kind(CLASSIFICATION, HIGHER),
    "mse": Kind(REGRESSION, LOWER),
    "mae": Kind(REGRESSION, LOWER),
    "rmse": Kind(REGRESSION, LOWER),
    "r2": Kind(REGRESSION, HIGHER),
}
_WITH_NUMBER = re.compile(r"(precision_at|recall_at)_(.+)|(precision|recall|accuracy)_above_(.+)")


@dataclasses.dataclass(frozen=True)
class MetricName:
    """A metric that a config names.

    Attributes:
      kind: Key of KINDS.
      number: For precision_at and recall_at, a number of examples (1 or more; their weight if they
        are weighted) or a share of them (below 1). For precision, recall and accuracy, the lowest
        score that counts as positive.
    """

    kind: str
    number: float | None = None

    def __str__(self) -> str:
        found = KINDS[self.kind]
        if self.number is None or self.number == found.default:
            return self.kind
        whole = self.number.is_integer()
        return f"{self.kind}{found.joint}{int(self.number) if whole else repr(self.number)}"

    @property
    def task(self) -> str:
        return KINDS[self.kind].task

    @property
    def better(self) -> str:
        return KINDS[self.kind].better


def metric_name(entry: str | Mapping[str, float]) -> MetricName:
    """Reads an entry of `evaluator.metrics` or a key of `evaluator.thresholds`.

    Args:
      entry: Name (`auc`, `precision_at_100`, `recall_above_0.3`) or mapping with one key
        (`{precision_at: 100}`).

    Raises:
      ValueError: The metric is unknown, or its number is missing or out of range.
    """
    if isinstance(entry, str):
        with_number = _WITH_NUMBER.fullmatch(entry)
        if with_number is None:
            return _checked(entry, None)
        kind, number = (part for part in with_number.groups() if part is not None)
        return _checked(kind, _number(entry, number))
    if len(entry) != 1:
        raise ValueError(
            f"a metric must be a name, or one key with a number. Received: {dict(entry)}"
        )
    ((kind, given),) = entry.items()
    if not isinstance(kind, str):
        raise ValueError(f"a metric's name must be a text. Received: {kind}")
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{kind}: expected a number. Received: {given}")
    return _checked(kind, float(given))


def _number(entry: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{entry}: expected a number at its end. Received: {text}") from None


def _checked(kind: str, number: float | None) -> MetricName:
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"'{kind}' is not a metric.{meant} Known metrics: {', '.join(KINDS)}")
    found = KINDS[kind]
    if not found.joint:
        if number is not None:
            raise ValueError(f"{kind} takes no number. Received: {number:g}")
        return MetricName(kind)
    number = found.default if number is None else number
    if number is None:
        raise ValueError(f"{kind} needs a number of examples, such as {{{kind}: 100}}")
    if found.default is not None and not 0 <= number <= 1:
        raise ValueError(f"{kind}: expected a score between 0 and 1. Received: {number:g}")
    if found.default is None and not (0 < number < 1 or (number >= 1 and number.is_integer())):
        raise ValueError(
            f"{kind}: expected a whole number of examples, or a share of them between 0 and 1. "
            f"Received: {number:g}"
        )
    return MetricName(kind, number)
