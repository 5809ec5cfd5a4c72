"""Reads feature distributions from StatisticsGen's and ExampleValidator's files.

The protos are parsed without TFDV: importing TFDV takes longer than making the whole report.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from metadata.artifact_files import files_below

_STATISTICS, _ANOMALIES = "FeatureStats.pb", "SchemaDiff.pb"
_TOP_VALUES = 15


@dataclasses.dataclass(frozen=True)
class Bin:
    """The number of examples with a value in [low, high)."""

    low: float
    high: float
    count: float


@dataclasses.dataclass(frozen=True)
class Feature:
    """A feature in one split.

    Attributes:
      name: Name of the feature; the steps of its path are joined by dots.
      kind: 'number' or 'text'.
      examples: Number of examples in the split.
      missing: Number of examples without it.
      mean, deviation, zeros, low, median, high: Statistics of a number; None for a text.
      unique: Number of different values of a text; None for a number.
      bins: Histogram of a number, with bins of equal width.
      top: Most frequent values of a text, with their counts.
    """

    name: str
    kind: str
    examples: float
    missing: float
    mean: float | None = None
    deviation: float | None = None
    zeros: float | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    unique: int | None = None
    bins: tuple[Bin, ...] = ()
    top: tuple[tuple[str, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """A finding of ExampleValidator in a feature of a split."""

    split: str
    feature: str
    reason: str
    description: str


@dataclasses.dataclass(frozen=True)
class Drift:
    """The distance of a feature from another span (drift) or another split (skew).

    Attributes:
      split, feature: Names of the split and the feature.
      kind: 'drift' or 'skew'.
      measure: Measure, e.g. 'JENSEN_SHANNON_DIVERGENCE'.
      value, threshold: Distance, and the largest one that is accepted.
    """

    split: str
    feature: str
    kind: str
    measure: str
    value: float
    threshold: float

    @property
    def too_far(self) -> bool:
        return self.value > self.threshold


def read_statistics(uri: str) -> dict[str, dict[str, Feature]]:
    """Returns split -> name -> feature; empty if the files are missing or unreadable."""
    found: dict[str, dict[str, Feature]] = {}
    for split, path in _splits(uri, _STATISTICS):
        try:
            content = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        except (OSError, DecodeError):
            continue
        for dataset in content.datasets[:1]:
            features = (_feature(proto, dataset.num_examples) for proto in dataset.features)
            found[split] = {feature.name: feature for feature in features}
    return found


def read_anomalies(uri: str) -> tuple[list[Anomaly], list[Drift]]:
    """Returns the findings in all splits; empty if the files are missing or unreadable."""
    anomalies: list[Anomaly] = []
    drift: list[Drift] = []
    for split, path in _splits(uri, _ANOMALIES):
        try:
            content = anomalies_pb2.Anomalies.FromString(path.read_bytes())
        except (OSError, DecodeError):
            continue
        for name, info in sorted(content.anomaly_info.items()):
            reasons = info.reason or [info]
            for reason in reasons:
                anomalies.append(Anomaly(split, name, reason.short_description, reason.description))
        if content.HasField("dataset_anomaly_info"):
            info = content.dataset_anomaly_info
            anomalies.append(Anomaly(split, "", info.short_description, info.description))
        for moved in content.drift_skew_info:
            drift += _drift(split, moved)
    return anomalies, drift


def has_anomalies(uri: str) -> bool:
    """Returns whether ExampleValidator's files are on this machine."""
    return bool(_splits(uri, _ANOMALIES))


def _splits(uri: str, name: str) -> list[tuple[str, Path]]:
    paths = files_below(uri, f"Split-*/{name}")
    found = [(path.parent.name.removeprefix("Split-"), path) for path in paths]
    return sorted(found, key=lambda pair: (pair[0] != "train", pair[0]))


def _feature(proto: Any, examples: float) -> Feature:
    name = proto.name or ".".join(proto.path.step)
    numeric = proto.HasField("num_stats")
    stats = getattr(proto, proto.WhichOneof("stats") or "string_stats")
    common = stats.common_stats
    present = common.num_non_missing
    examples = present + common.num_missing if present or common.num_missing else examples
    if not numeric:  # bytes and structs have no values to show
        values = getattr(stats, "top_values", ())[:_TOP_VALUES]
        top = tuple((value.value, value.frequency) for value in values)
        unique = getattr(stats, "unique", None) or None
        return Feature(name, "text", examples, common.num_missing, unique=unique, top=top)
    return Feature(
        name,
        "number",
        examples,
        common.num_missing,
        mean=stats.mean,
        deviation=stats.std_dev,
        zeros=stats.num_zeros,
        low=stats.min,
        median=stats.median,
        high=stats.max,
        bins=_bins(stats.histograms),
    )


def _bins(histograms: Any) -> tuple[Bin, ...]:
    """Returns bins of equal width, or else quantiles."""
    standard = statistics_pb2.Histogram.STANDARD
    chosen = next((h for h in histograms if h.type == standard), None)
    chosen = chosen or next(iter(histograms), None)
    if chosen is None:
        return ()
    return tuple(Bin(b.low_value, b.high_value, b.sample_count) for b in chosen.buckets)


def _drift(split: str, moved: Any) -> list[Drift]:
    name = ".".join(moved.path.step)
    kinds = (("drift", moved.drift_measurements), ("skew", moved.skew_measurements))
    types = anomalies_pb2.DriftSkewInfo.Measurement.Type
    return [
        Drift(split, name, kind, types.Name(found.type), found.value, found.threshold)
        for kind, measurements in kinds
        for found in measurements
    ]
