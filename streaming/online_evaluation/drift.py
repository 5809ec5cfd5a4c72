"""Distances between feature distributions, by TensorFlow Data Validation's comparators."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

HOUR_BEFORE, SERVING = "hour before", "serving"


@dataclasses.dataclass(frozen=True)
class FeatureDistance:
    """The distance of a feature in an hour's examples from a baseline.

    Attributes:
      feature: Name of the feature.
      against: Baseline: `HOUR_BEFORE` (examples of the span before) or `SERVING` (requests).
      value: Jensen-Shannon divergence or L-infinity norm, from 0 (equal) to 1.
      threshold: Threshold of the schema, or else of the config.
    """

    feature: str
    against: str
    value: float
    threshold: float

    @property
    def drifted(self) -> bool:
        return self.value > self.threshold


def distances(
    schema: schema_pb2.Schema,
    hour: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList | None,
    served: statistics_pb2.DatasetFeatureStatisticsList | None,
) -> list[FeatureDistance]:
    """Returns the distances of all features that have a comparator, largest first.

    Args:
      schema: Schema with comparators, as `with_comparators` returns it.
      hour: Statistics of the training examples of an hour.
      before: Statistics of the hour before, if any.
      served: Statistics of the examples that the server was asked about in this hour, if any.
        Features that requests do not have, such as the label, are left out.
    """
    found = []
    if before is not None:
        anomalies = tfdv.validate_statistics(hour, schema, previous_statistics=before)
        for info in anomalies.drift_skew_info:
            found += _distances_of(info, HOUR_BEFORE, info.drift_measurements)
    if served is not None:
        both = _names(hour) & _names(served)
        anomalies = tfdv.validate_statistics(hour, schema, serving_statistics=served)
        for info in anomalies.drift_skew_info:
            if info.path.step[0] in both:
                found += _distances_of(info, SERVING, info.skew_measurements)
    return sorted(found, key=lambda one: (-one.value, one.feature, one.against))


def _distances_of(
    info: anomalies_pb2.DriftSkewInfo,
    against: str,
    measured: Collection[anomalies_pb2.DriftSkewInfo.Measurement],
) -> list[FeatureDistance]:
    name = ".".join(info.path.step)
    return [FeatureDistance(name, against, one.value, one.threshold) for one in measured]


def _names(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> set[str]:
    (dataset,) = statistics.datasets
    return {feature.path.step[0] for feature in dataset.features}


def with_comparators(
    schema: schema_pb2.Schema, max_distance: float, leave_out: Collection[str]
) -> schema_pb2.Schema:
    """Returns a copy of a schema in which every feature has both comparators.

    Args:
      schema: Schema of the examples; comparators in it are kept.
      max_distance: Jensen-Shannon divergence that features without a comparator may have.
      leave_out: Names of features that get no comparator.
    """
    result = schema_pb2.Schema()
    result.CopyFrom(schema)
    for feature in result.feature:
        if feature.name in leave_out:
            continue
        for comparator in ("drift_comparator", "skew_comparator"):
            if not feature.HasField(comparator):
                chosen = getattr(feature, comparator)
                chosen.jensen_shannon_divergence.threshold = max_distance
    return result
