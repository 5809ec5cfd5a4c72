"""Declares AnomalyGate, which has no output: it lets the run continue or stops it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.anomaly_gate.executor import AnomalyGateExecutor


class AnomalyGateSpec(component_spec.ComponentSpec):
    PARAMETERS = {"allow": ExecutionParameter(type=str)}  # noqa: RUF012 - JSON list
    INPUTS = {  # noqa: RUF012
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }
    OUTPUTS: dict[str, ChannelParameter] = {}  # noqa: RUF012


class AnomalyGate(base_component.BaseComponent):
    """Fails if any split has an anomaly of severity ERROR."""

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AnomalyGateExecutor)

    def __init__(self, anomalies: types.BaseChannel, allow: Iterable[str] = ()):
        """Constructs an AnomalyGate.

        Args:
          anomalies: `standard_artifacts.ExampleAnomalies` of an ExampleValidator.
          allow: Features whose anomalies are logged instead of stopping the run.
        """
        super().__init__(AnomalyGateSpec(anomalies=anomalies, allow=json.dumps(sorted(allow))))
