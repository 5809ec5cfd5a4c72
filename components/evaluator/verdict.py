"""Turns TFMA's validation into data and text that say why a model is blessed or not."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx.utils import io_utils

from base.shared_names import EVALUATION_VERDICT
from components.evaluator.telling_features import Telling


@dataclasses.dataclass(frozen=True)
class Missed:
    """A bound that a model missed.

    Attributes:
      metric: Name of the metric; empty for a slice without examples.
      slice: Name of the slice, such as 'device=phone'; empty for all examples.
      value: Value of the metric or of its difference to the baseline; None if it is undefined.
      bound: Expected value, such as 'at least 0.6'.
      text: Line with all of this.
    """

    metric: str
    slice: str
    value: float | None
    bound: str
    text: str


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The decision about a model, and its reasons.

    Attributes:
      blessed: Whether the model is blessed; None if no bound is set and nothing was judged.
      reasons: Lines that say why the model is not blessed.
      missed: Bounds that the model missed.
      telling: Features that almost reveal the label.
    """

    blessed: bool | None
    reasons: Sequence[str]
    missed: Sequence[Missed]
    telling: Sequence[Telling]


def write_verdict(verdict: Verdict, uri: str) -> None:
    """Writes the verdict into the folder of an evaluation."""
    text = json.dumps(dataclasses.asdict(verdict), indent=1)
    io_utils.write_string_file(f"{uri.rstrip('/')}/{EVALUATION_VERDICT}", text)


def missed_bounds(validation: Any) -> list[Missed]:
    """Returns the missed bounds in a ValidationResult of TFMA."""
    found = [
        _missed(failure, _slice(one.slice_key))
        for one in validation.metric_validations_per_slice
        for failure in one.failures
    ]
    return found + [_no_examples(spec) for spec in validation.missing_slices]


def _missed(failure: Any, where: str) -> Missed:
    name = failure.metric_key.name
    has_value = failure.metric_value.WhichOneof("type") == "double_value"
    value = failure.metric_value.double_value.value if has_value else math.nan
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        bound = _change(threshold.change_threshold)
        side = "lower" if value < 0 else "higher"
        said = f"{name} is {_number(abs(value))} {side} than the baseline's"
        if math.isnan(value):
            said = f"{name} has no value here or at the baseline"
        elif _is_no_decline(threshold.change_threshold, value):
            bound = "a baseline of which a percentage can be taken, not 0; use max_worse"
    else:
        bound = _limits(threshold.value_threshold)
        said = f"{name} {_number(value)}" if not math.isnan(value) else f"{name} has no value"
    place = f"{where}: " if where else ""
    known = value if math.isfinite(value) else None
    return Missed(name, where, known, bound, f"{place}{said}, expected {bound}")


def _is_no_decline(threshold: Any, value: float) -> bool:
    """Returns whether a comparison failed only because the baseline's metric is 0."""
    higher_is_better = threshold.direction == config_pb2.MetricDirection.HIGHER_IS_BETTER
    return value >= 0 if higher_is_better else value <= 0


def _limits(threshold: Any) -> str:
    said = []
    if threshold.HasField("lower_bound"):
        said.append(f"at least {threshold.lower_bound.value:,g}")
    if threshold.HasField("upper_bound"):
        said.append(f"at most {threshold.upper_bound.value:,g}")
    return " and ".join(said)


def _change(threshold: Any) -> str:
    said = []
    if threshold.HasField("absolute"):
        said.append(f"{abs(threshold.absolute.value):g}")
    if threshold.HasField("relative"):
        said.append(f"{100 * abs(threshold.relative.value):g} % of it")
    return f"to be worse by {' and '.join(said)} at most"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:.6g}"


def _slice(key: Any) -> str:
    parts = []
    for single in key.single_slice_keys:
        value = getattr(single, single.WhichOneof("kind") or "bytes_value")
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        parts.append(f"{single.column}={text}")
    return ", ".join(parts)


def _no_examples(spec: Any) -> Missed:
    where = ", ".join(f"{name}={value}" for name, value in sorted(spec.feature_values.items()))
    where = where or ", ".join(spec.feature_keys) or "all examples"
    bound = "examples to judge"
    return Missed("", where, None, bound, f"{where}: there are no examples, expected {bound}")
