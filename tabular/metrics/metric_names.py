"""The metrics that a config may name: `auc`, `{precision_at: 100}`, `{recall: 0.3}` ...

Many places read a config without computing a metric, so this module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any, Literal

from tabular.feature_set import TaskName

HIGHER, LOWER, NEITHER = "higher", "lower", "neither"  # which values are better

GROUPED_AUC, NDCG, MAP = "grouped_auc", "ndcg", "map"
POSITIVES, NEGATIVES, EXAMPLES = "positives", "negatives", "example_count"
DECISION_COST = "decision_cost"
RAREST = "examples_of_rarest_class"
# NAME/low and NAME/high are the bounds of the 95 % interval of the metric NAME.
LOW, HIGH = "/low", "/high"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of metric.

    Attributes:
      tasks: Tasks of the models that it measures.
      better: Direction of better values, HIGHER, LOWER or NEITHER.
      takes: What a name says beside the kind: a score, a number of examples or of classes, the name
        of a class, or the feature that defines a list, and how many of its places count.
      joint: Text between the kind and that in a metric's name.
      default: Default of a score.
    """

    tasks: tuple[TaskName, ...]
    better: str
    takes: Literal["nothing", "score", "examples", "classes", "class", "list"] = "nothing"
    joint: str = ""
    default: float | None = None


_BINARY: tuple[TaskName, ...] = ("binary",)
_MULTICLASS: tuple[TaskName, ...] = ("multiclass",)
_CLASSES: tuple[TaskName, ...] = ("binary", "multiclass")
_REGRESSION: tuple[TaskName, ...] = ("regression",)
KINDS: Mapping[str, Kind] = {
    "auc": Kind(_BINARY, HIGHER),
    "auc_pr": Kind(_BINARY, HIGHER),
    "log_loss": Kind(_CLASSES, LOWER),
    "calibration": Kind(_BINARY, NEITHER),
    "ece": Kind(_BINARY, LOWER),
    "calibration_at": Kind(_BINARY, NEITHER, "examples", "_"),
    "precision_at": Kind(_BINARY, HIGHER, "examples", "_"),
    "recall_at": Kind(_BINARY, HIGHER, "examples", "_"),
    "precision": Kind(_BINARY, HIGHER, "score", "_above_", 0.5),
    "recall": Kind(_BINARY, HIGHER, "score", "_above_", 0.5),
    "accuracy": Kind(_CLASSES, HIGHER, "score", "_above_", 0.5),
    "decision_precision": Kind(_BINARY, HIGHER),
    "decision_recall": Kind(_BINARY, HIGHER),
    "decision_share": Kind(_BINARY, NEITHER),
    DECISION_COST: Kind(_BINARY, LOWER),
    "top_k_accuracy": Kind(_MULTICLASS, HIGHER, "classes", "_"),
    "macro_auc": Kind(_MULTICLASS, HIGHER),
    "auc_of": Kind(_MULTICLASS, HIGHER, "class", "_"),
    GROUPED_AUC: Kind(_BINARY, HIGHER),
    NDCG: Kind(("binary", "regression"), HIGHER, "list"),
    MAP: Kind(_BINARY, HIGHER, "list"),
    "mse": Kind(_REGRESSION, LOWER),
    "mae": Kind(_REGRESSION, LOWER),
    "rmse": Kind(_REGRESSION, LOWER),
    "r2": Kind(_REGRESSION, HIGHER),
}
_NEEDED = {
    "examples": ("a number of examples", "100"),
    "classes": ("a number of classes", "3"),
    "class": ("the name of a class", "NAME"),
    "list": ("the feature that defines a list", "{group: NAME, at: 10}"),
}
_LIST = re.compile(r"(ndcg|map)(?:_at_([^_]+))?_by_(.+)")
# Regular expression of names with more than the kind.
_WITH_MORE = re.compile(
    r"(calibration_at|precision_at|recall_at|top_k_accuracy|auc_of)_(.+)"
    r"|(precision|recall|accuracy)_above_(.+)"
)


@dataclasses.dataclass(frozen=True)
class MetricName:
    """A metric that a config names.

    Attributes:
      kind: Key of KINDS.
      number: For calibration_at, precision_at and recall_at, a number of examples (1 or more; their
        weight if they are weighted) or a share of them (below 1). For precision, recall and
        accuracy, the lowest score that counts as positive. For top_k_accuracy, the number of
        classes. For ndcg and map, the number of places; None for all.
      of: For auc_of, the name of a class. For ndcg and map, the feature that defines a list.
    """

    kind: str
    number: float | None = None
    of: str | None = None

    def __str__(self) -> str:
        found = KINDS[self.kind]
        if found.takes == "list":
            at = "" if self.number is None else f"_at_{int(self.number)}"
            return f"{self.kind}{at}_by_{self.of}"
        if self.of is not None:
            return f"{self.kind}{found.joint}{self.of}"
        if self.number is None or self.number == found.default:
            return self.kind
        whole = self.number.is_integer()
        return f"{self.kind}{found.joint}{int(self.number) if whole else repr(self.number)}"

    @property
    def tasks(self) -> tuple[TaskName, ...]:
        """Tasks that it measures. Of several classes, accuracy takes no score."""
        if self.kind == "accuracy" and str(self) != "accuracy":
            return _BINARY
        return KINDS[self.kind].tasks

    @property
    def is_grouped(self) -> bool:
        """Whether it is a mean over groups of examples."""
        return self.kind == GROUPED_AUC or KINDS[self.kind].takes == "list"

    @property
    def is_of_decision(self) -> bool:
        """Whether it measures the output `decision` of the model, in place of its score."""
        return self.kind.startswith("decision_")

    @property
    def better(self) -> str:
        return KINDS[self.kind].better


def metric_name(entry: str | Mapping[str, Any]) -> MetricName:
    """Reads an entry of `evaluator.metrics` or a key of `evaluator.thresholds`.

    Args:
      entry: Name (`auc`, `precision_at_100`, `recall_above_0.3`) or mapping with one key
        (`{precision_at: 100}`, `{auc_of: sports}`, `{ndcg: {group: query, at: 10}}`).

    Raises:
      ValueError: The metric is unknown, or what it takes is missing or out of range.
    """
    if isinstance(entry, str):
        of_list = _LIST.fullmatch(entry)
        if of_list is not None:
            kind, at, group = of_list.groups()
            return _of_list(kind, {"group": group, "at": at and _number(entry, at)})
        with_more = _WITH_MORE.fullmatch(entry)
        if with_more is None:
            return _checked(entry, None)
        kind, text = (part for part in with_more.groups() if part is not None)
        return _checked(kind, text if KINDS[kind].takes == "class" else _number(entry, text))
    if len(entry) != 1:
        raise ValueError(
            f"a metric must be a name, or one key with a number. Received: {dict(entry)}"
        )
    ((kind, given),) = entry.items()
    if not isinstance(kind, str):
        raise ValueError(f"a metric's name must be a text. Received: {kind}")
    if kind in KINDS and KINDS[kind].takes == "class":
        return _checked(kind, str(given))  # a class may be named 2024
    if kind in KINDS and KINDS[kind].takes == "list":
        return _of_list(kind, given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{kind}: expected a number. Received: {given}")
    return _checked(kind, float(given))


def _of_list(kind: str, given: Any) -> MetricName:
    if not isinstance(given, Mapping) or not {"group"} <= {*given} <= {"group", "at"}:
        raise ValueError(
            f"{kind} needs the feature that defines a list, such as {{{kind}: {{group: NAME, at: "
            f"10}}}}. Received: {dict(given) if isinstance(given, Mapping) else given}"
        )
    at = given.get("at")
    if at is not None and not (
        isinstance(at, int | float) and not isinstance(at, bool) and at >= 1 and at == int(at)
    ):
        raise ValueError(f"{kind}: expected a whole number of places in `at`. Received: {at}")
    return MetricName(kind, None if at is None else float(at), str(given["group"]))


def _number(entry: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{entry}: expected a number at its end. Received: {text}") from None


def _checked(kind: str, given: float | str | None) -> MetricName:
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(f"'{kind}' is not a metric.{meant} Known metrics: {', '.join(KINDS)}")
    takes, given = KINDS[kind].takes, KINDS[kind].default if given is None else given
    if takes == "nothing":
        if given is not None:
            raise ValueError(f"{kind} takes no number. Received: {given:g}")
        return MetricName(kind)
    if given is None:
        needed, example = _NEEDED[takes]
        raise ValueError(f"{kind} needs {needed}, such as {{{kind}: {example}}}")
    if isinstance(given, str):
        return MetricName(kind, of=given)
    is_count = given >= 1 and given.is_integer()
    if takes == "score" and not 0 <= given <= 1:
        raise ValueError(f"{kind}: expected a score between 0 and 1. Received: {given:g}")
    if takes == "examples" and not (0 < given < 1 or is_count):
        raise ValueError(
            f"{kind}: expected a whole number of examples, or a share of them between 0 and 1. "
            f"Received: {given:g}"
        )
    if takes == "classes" and not is_count:
        raise ValueError(f"{kind}: expected a whole number of classes. Received: {given:g}")
    return MetricName(kind, given)
