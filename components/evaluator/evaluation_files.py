"""What Evaluator measured, read without TensorFlow: `read_evaluation(uri)`.

TFMA writes metrics as TFRecord files of protos. Its own reader imports TensorFlow, some five
seconds; the protos and the framing of a TFRecord file need neither.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from base.foreign_json import parse
from base.shared_names import EVALUATION_VERDICT
from metadata.artifact_files import files_below, local_path
from spark_io.examples.small_tfrecords import UNREADABLE, records

_PROTOS = "tensorflow_model_analysis.proto.metrics_for_slice_pb2"
_BASELINE = "baseline"
# Names of evaluations until 2026-11-28.
_NAMES = {"binary_crossentropy": "log_loss", "expected_calibration_error": "ece"}
_LOW, _HIGH = "/low", "/high"  # end the names of the bounds of a metric's interval


@dataclasses.dataclass(frozen=True)
class Metric:
    """A value, and the bounds of its 95 % interval if they were asked for."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Slice:
    """The metrics of some of the rows.

    Attributes:
      name: e.g. 'device=mobile'; '' for all rows.
      metrics: Metrics of the candidate by name.
      baseline: likewise, of the model it was compared with; empty if there was none.
    """

    name: str
    metrics: dict[str, Metric]
    baseline: dict[str, Metric]


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Rows with about the same prediction: sums over them."""

    rows: float
    predictions: float
    labels: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A ModelEvaluation artifact.

    Attributes:
      slices: all rows first, then the others by name.
      calibration: buckets over all rows, by rising prediction; empty without a CalibrationPlot.
    """

    slices: tuple[Slice, ...]
    calibration: tuple[Bucket, ...]

    @property
    def overall(self) -> Slice | None:
        return next((one for one in self.slices if not one.name), None)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The Evaluator's word on a model.

    Attributes:
      blessed: None: nothing was judged.
      reasons: Lines that say why a model is not blessed.
      telling: Lines about features that almost tell the label.
    """

    blessed: bool | None = None
    reasons: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()


def read_verdict(uri: str) -> Verdict:
    """Returns an empty verdict for another Evaluator than ours, or one that cannot be read."""
    folder = local_path(uri)
    try:
        text = (folder / EVALUATION_VERDICT).read_text("utf-8") if folder else "{}"
        found = parse(text, finite=False)
        telling = tuple(str(one["text"]) for one in found.get("telling", []))
        return Verdict(found.get("blessed"), tuple(map(str, found.get("reasons", []))), telling)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Verdict()


def read_evaluation(uri: str) -> Evaluation | None:
    """None if it is not on this machine, or cannot be read."""
    files = files_below(uri, "metrics*")
    if not files:
        return None
    protos = _protos()
    try:
        metrics = [protos.MetricsForSlice.FromString(r) for p in files for r in records(p)]
        drawn = files_below(uri, "plots*")
        plots = [protos.PlotsForSlice.FromString(r) for p in drawn for r in records(p)]
    except UNREADABLE:
        return None
    slices = sorted((_slice(proto) for proto in metrics), key=lambda one: one.name)
    return Evaluation(tuple(slices), _calibration(plots)) if slices else None


@functools.cache
def _protos() -> ModuleType:
    """TFMA's generated module, by its file: the package around it imports TensorFlow."""
    if _PROTOS in sys.modules:
        return sys.modules[_PROTOS]
    package, _, path = _PROTOS.partition(".")
    found = importlib.util.find_spec(package)
    assert found is not None and found.submodule_search_locations
    file = Path(found.submodule_search_locations[0], *path.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"{__name__}._protos", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _slice(proto: Any) -> Slice:
    metrics: dict[str, Metric] = {}
    baseline: dict[str, Metric] = {}
    for pair in proto.metric_keys_and_values:
        metric = _metric(pair)
        if metric is not None and not pair.key.is_diff:
            side = baseline if pair.key.model_name == _BASELINE else metrics
            side[_NAMES.get(pair.key.name, pair.key.name)] = metric
    return Slice(_slice_name(proto.slice_key), _with_bounds(metrics), _with_bounds(baseline))


def _with_bounds(found: dict[str, Metric]) -> dict[str, Metric]:
    """Metrics with their intervals, from metrics and bounds that have names of their own."""
    result = {}
    for name, metric in found.items():
        if name.endswith((_LOW, _HIGH)):
            continue
        low, high = found.get(name + _LOW), found.get(name + _HIGH)
        if low is not None and high is not None:
            metric = Metric(metric.value, low.value, high.value)
        result[name] = metric
    return result


def _slice_name(key: Any) -> str:
    parts = []
    for single in key.single_slice_keys:
        value = getattr(single, single.WhichOneof("kind") or "bytes_value")
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        parts.append(f"{single.column}={text}")
    return ", ".join(parts)


def _metric(pair: Any) -> Metric | None:
    """None for what is no number: a curve, or NaN (AUC of one class)."""
    value = pair.value
    if value.HasField("bounded_value"):
        bounded = value.bounded_value
        number = bounded.value.value
        low, high = bounded.lower_bound.value, bounded.upper_bound.value
    elif value.HasField("double_value"):
        number = value.double_value.value
        interval = pair.confidence_interval if pair.HasField("confidence_interval") else None
        low = interval.lower_bound.double_value.value if interval else math.nan
        high = interval.upper_bound.double_value.value if interval else math.nan
    else:
        return None
    if not math.isfinite(number):
        return None
    finite = math.isfinite(low) and math.isfinite(high)
    return Metric(number, low, high) if finite else Metric(number)


def _calibration(plots: list[Any]) -> tuple[Bucket, ...]:
    """Of the candidate on all rows."""
    for plot in plots:
        if plot.slice_key.single_slice_keys:
            continue
        for pair in plot.plot_keys_and_values:
            buckets = pair.value.calibration_histogram_buckets.buckets
            if buckets and pair.key.model_name != _BASELINE:
                return tuple(
                    Bucket(
                        rows=bucket.num_weighted_examples.value,
                        predictions=bucket.total_weighted_refined_prediction.value,
                        labels=bucket.total_weighted_label.value,
                    )
                    for bucket in buckets
                    if bucket.num_weighted_examples.value
                )
    return ()
