"""Features that are not distributed as they were, by TensorFlow Data Validation's comparators."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

HOUR_BEFORE, SERVING = "hour before", "serving"


@dataclasses.dataclass(frozen=True)
class Distance:
    """Of a feature in the examples of an hour, from itself elsewhere.

    Attributes:
      feature: its name.
      against: `HOUR_BEFORE`: the examples of the span before; `SERVING`: what was asked for.
      value: Jensen-Shannon divergence or L-infinity norm, 0 (alike) to 1.
      threshold: of the schema, or the config's.
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
) -> list[Distance]:
    """Of every feature that has a comparator, the largest first.

    Args:
      schema: with comparators, as `with_comparators` gives them.
      hour: statistics of the training examples of an hour.
      before: of the hour before; None for none.
      served: of the examples that the server was asked about in this hour; None for none. Features
        that it was not given, such as the label, are left out.
    """
    found = []
    if before is not None:
        anomalies = tfdv.validate_statistics(hour, schema, previous_statistics=before)
        for info in anomalies.drift_skew_info:
            found += _of(info, HOUR_BEFORE, info.drift_measurements)
    if served is not None:
        both = _names(hour) & _names(served)
        anomalies = tfdv.validate_statistics(hour, schema, serving_statistics=served)
        for info in anomalies.drift_skew_info:
            if info.path.step[0] in both:
                found += _of(info, SERVING, info.skew_measurements)
    return sorted(found, key=lambda one: (-one.value, one.feature, one.against))


def _of(
    info: anomalies_pb2.DriftSkewInfo,
    against: str,
    measured: Collection[anomalies_pb2.DriftSkewInfo.Measurement],
) -> list[Distance]:
    name = ".".join(info.path.step)
    return [Distance(name, against, one.value, one.threshold) for one in measured]


def _names(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> set[str]:
    (dataset,) = statistics.datasets
    return {feature.path.step[0] for feature in dataset.features}


def with_comparators(
    schema: schema_pb2.Schema, max_distance: float, leave_out: Collection[str]
) -> schema_pb2.Schema:
    """A copy in which every feature has both comparators, its own where it has them.

    Args:
      schema: of the examples.
      max_distance: Jensen-Shannon divergence, for those without.
      leave_out: features that get none.
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
