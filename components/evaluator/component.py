"""Evaluator: what goes in and out."""

from __future__ import annotations

from typing import Any

from tfx import components as tfx_components
from tfx.dsl.components.base import executor_spec
from tfx.types.component_spec import ExecutionParameter

from components.evaluator.executor import MAX_FEATURE_AUC, EvaluatorExecutor


class Evaluator(tfx_components.Evaluator):
    """The standard Evaluator, with an executor that says why a model is not blessed."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        *,
        max_feature_auc: float | None = None,
        code_sha256: str | None = None,
        **evaluator: Any,
    ):
        """Takes what the standard Evaluator takes, by keyword, and:

        Args:
          max_feature_auc: No model is blessed if one feature alone has a higher AUC; None: such
            features are only reported.
          code_sha256: Hash of the code of the metrics that eval_config names. TFX's cache knows
            only their names: an edited metric would be answered from it.
        """
        super().__init__(**evaluator)
        more = {MAX_FEATURE_AUC: (float, max_feature_auc), "code_sha256": (str, code_sha256)}
        for name, (kind, value) in more.items():
            if value is not None:
                # The standard constructor makes the standard spec; compilers read both of these.
                parameter = ExecutionParameter(type=kind, optional=True)
                self.spec.PARAMETERS = {**self.spec.PARAMETERS, name: parameter}
                self.spec.exec_properties[name] = value
