"""Reads the Evaluator's results without TensorFlow.

TFMA writes metrics as TFRecord files of protos. TFMA's own reader imports TensorFlow, which takes
about five seconds and is not needed for protos in TFRecord files.
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

# Needed by TFMA's module, which does not import it in TFX 1.21.
from google.protobuf import wrappers_pb2  # noqa: F401

from base.foreign_json import parse
from base.shared_names import EVALUATION_VERDICT
from metadata.artifact_files import files_below, local_path
from spark_io.examples.small_tfrecords import UNREADABLE, records

_PROTOS = "tensorflow_model_analysis.proto.metrics_for_slice_pb2"
_BASELINE = "baseline"
# Names of metrics in evaluations before 2026-11-28.
_NAMES = {"binary_crossentropy": "log_loss", "expected_calibration_error": "ece"}
_LOW, _HIGH = "/low", "/high"  # suffixes of the bounds of a metric's interval


@dataclasses.dataclass(frozen=True)
class Metric:
    """A value and the bounds of its 95 % interval, if they were computed."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Slice:
    """The metrics of a slice of the rows.

    Attributes:
      name: Name of the slice, such as 'device=mobile'; '' for all rows.
      metrics: Metrics of the candidate by name.
      baseline: Metrics of the baseline by name; empty without a baseline.
    """

    name: str
    metrics: dict[str, Metric]
    baseline: dict[str, Metric]


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Sums over rows with similar predictions."""

    rows: float
    predictions: float
    labels: float


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The rows of each class by the class that was predicted for them.

    Attributes:
      classes: Names of the classes, in the order of the labels.
      rows: Weight of the rows, by actual and then by predicted class.
    """

    classes: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A ModelEvaluation artifact.

    Attributes:
      slices: Slices by name, starting with all rows.
      calibration: Buckets over all rows by rising prediction; empty without a calibration plot.
      confusion: Actual and predicted classes of all rows; None without several classes.
    """

    slices: tuple[Slice, ...]
    calibration: tuple[Bucket, ...]
    confusion: Confusion | None = None

    @property
    def overall(self) -> Slice | None:
        return next((one for one in self.slices if not one.name), None)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The Evaluator's verdict on a model.

    Attributes:
      blessed: Whether the model is blessed; None if nothing was judged.
      reasons: Lines that say why the model is not blessed.
      telling: Lines about features that almost reveal the label.
    """

    blessed: bool | None = None
    reasons: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()


def read_verdict(uri: str) -> Verdict:
    """Reads the verdict; it is empty if it is unreadable or of another Evaluator than ours."""
    folder = local_path(uri)
    try:
        text = (folder / EVALUATION_VERDICT).read_text("utf-8") if folder else "{}"
        found = parse(text, finite=False)
        telling = tuple(str(one["text"]) for one in found.get("telling", []))
        return Verdict(found.get("blessed"), tuple(map(str, found.get("reasons", []))), telling)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Verdict()


def read_evaluation(uri: str) -> Evaluation | None:
    """Reads an evaluation; returns None if it is unreadable or not on this machine."""
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
    if not slices:
        return None
    confusion = _confusion(plots, _classes(uri))
    return Evaluation(tuple(slices), _calibration(plots), confusion)


@functools.cache
def _protos() -> ModuleType:
    """Loads TFMA's generated module by its file, because its package imports TensorFlow."""
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
    """Combines metrics and bounds, which have separate names, into metrics with intervals."""
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
    """Returns a metric; None for a curve or NaN, such as AUC of one class."""
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
    """Returns the calibration of the candidate on all rows."""
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


def _confusion(plots: list[Any], classes: tuple[str, ...]) -> Confusion | None:
    """Returns the candidate's classes of all rows; None if the names of the classes are unknown."""
    for plot in plots if classes else ():
        if plot.slice_key.single_slice_keys:
            continue
        for pair in plot.plot_keys_and_values:
            matrices = pair.value.multi_class_confusion_matrix_at_thresholds.matrices
            if not matrices or pair.key.model_name == _BASELINE:
                continue
            rows = [[0.0] * len(classes) for _ in classes]
            for entry in matrices[0].entries:
                places = (entry.actual_class_id, entry.predicted_class_id)
                if all(0 <= place < len(classes) for place in places):
                    rows[places[0]][places[1]] += entry.num_weighted_examples
            return Confusion(classes, tuple(map(tuple, rows)))
    return None


def _classes(uri: str) -> tuple[str, ...]:
    """Returns the names of the classes in TFMA's copy of the EvalConfig, if there are any."""
    for file in files_below(uri, "eval_config.json"):
        try:
            config = parse(file.read_text("utf-8"), finite=False)["evalConfig"]
            for spec in config["metricsSpecs"]:
                for metric in spec["metrics"]:
                    options = parse(metric.get("config") or "{}", finite=False)
                    if options.get("classes"):
                        return tuple(map(str, options["classes"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return ()
