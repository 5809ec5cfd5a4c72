"""Artifact types of this component."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class TreeComparison(Artifact):
    """`comparison.json`: a tabular.baseline.result.Comparison.

    Custom properties are `rows`, `iterations` and the metrics, as `metric_NAME`. See
    QuarantinedRecords for why they are not declared.
    """

    TYPE_NAME = "components.TreeComparison"
