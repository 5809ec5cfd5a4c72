"""Declares the Evaluator."""

from __future__ import annotations

from typing import Any

from tfx import components as tfx_components
from tfx.dsl.components.base import executor_spec
from tfx.types.component_spec import ExecutionParameter

from components.evaluator.executor import MAX_FEATURE_AUC, EvaluatorExecutor


class Evaluator(tfx_components.Evaluator):
    """The standard Evaluator with an executor that reports why a model is not blessed."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        *,
        max_feature_auc: float | None = None,
        code_sha256: str | None = None,
        **evaluator: Any,
    ):
        """Constructs an Evaluator.

        Args:
          max_feature_auc: Highest AUC of a single feature for a model to be blessed; None reports
            such features without a limit.
          code_sha256: Hash of the code of the metrics in eval_config. TFX's cache key has only
            their names, so it would miss an edited metric.
          **evaluator: Arguments of the standard Evaluator.
        """
        super().__init__(**evaluator)
        more = {MAX_FEATURE_AUC: (float, max_feature_auc), "code_sha256": (str, code_sha256)}
        for name, (kind, value) in more.items():
            if value is not None:
                # The standard constructor builds the standard spec. Compilers read both attributes.
                parameter = ExecutionParameter(type=kind, optional=True)
                self.spec.PARAMETERS = {**self.spec.PARAMETERS, name: parameter}
                self.spec.exec_properties[name] = value
