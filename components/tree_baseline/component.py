"""Declares TreeBaseline."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from base.code_fingerprint import code_sha256
from components.tree_baseline.artifacts import TreeComparison
from components.tree_baseline.executor import TreeBaselineExecutor
from tabular.baseline import comparison
from tabular.feature_set import FEATURES, FeatureSet


class TreeBaselineSpec(component_spec.ComponentSpec):
    PARAMETERS = {  # noqa: RUF012
        FEATURES: ExecutionParameter(type=str),  # JSON of a FeatureSet
        "metrics": ExecutionParameter(type=str),  # JSON list of names
        "judged": ExecutionParameter(type=str),
        "weight": ExecutionParameter(type=str),
        "not_applied": ExecutionParameter(type=str),  # JSON list
        "code_sha256": ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"comparison": ChannelParameter(type=TreeComparison)}  # noqa: RUF012


class TreeBaseline(base_component.BaseComponent):
    """Trains gradient-boosted trees to compare the model with; see README.md."""

    SPEC_CLASS = TreeBaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TreeBaselineExecutor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        features: FeatureSet,
        *,
        metrics: Iterable[str],
        judged: str,
        weight: str | None = None,
        not_applied: Iterable[str] = (),
    ):
        """Constructs a TreeBaseline.

        Args:
          examples: Raw Examples with the splits train, eval and `judged`.
          schema: Schema of the examples.
          features: Declared features of the model.
          metrics: Names of metrics over examples, as in `evaluator.metrics`.
          judged: Split whose rows are judged.
          weight: Raw feature with the weight of an example in the metrics.
          not_applied: Keys of the config that shape the network or its evaluation and not the
            trees, for the notes of the result.
        """
        super().__init__(
            TreeBaselineSpec(
                examples=examples,
                schema=schema,
                features=json.dumps(features.to_json(), sort_keys=True),
                metrics=json.dumps([*metrics]),
                judged=judged,
                weight=weight or "",
                not_applied=json.dumps([*not_applied]),
                code_sha256=code_sha256(comparison.__name__),
                comparison=types.Channel(type=TreeComparison),
            )
        )
