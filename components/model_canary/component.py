"""Declares ModelCanary."""

from __future__ import annotations

import dataclasses
import json

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.model_canary.executor import ModelCanaryExecutor, Settings
from components.model_canary.training_graph import TRANSFORMED


class ModelCanarySpec(component_spec.ComponentSpec):
    PARAMETERS = {"settings": ExecutionParameter(type=str)}  # noqa: RUF012 - JSON
    INPUTS = {  # noqa: RUF012
        "model": ChannelParameter(type=standard_artifacts.Model),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)
    }


class ModelCanary(base_component.BaseComponent):
    """Tests the candidate on a real server; see README.md."""

    SPEC_CLASS = ModelCanarySpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ModelCanaryExecutor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        server: str,
        split: str = "eval",
        requests: int = 20,
        candidates: int = 100,
        max_ms: float = 500.0,
        tolerance: float = 1e-5,
        signature: str = TRANSFORMED,
        start_seconds: float = 180.0,
    ):
        """Constructs a ModelCanary. Its output `blessing` is a standard InfraBlessing.

        Args:
          model: Model of a Trainer.
          examples: Raw examples for the requests.
          transform_graph: TransformGraph that made the training data.
          server: Module of the server, started by `python -m SERVER serve`.
          split: Split of `examples`.
          requests: Number of requests.
          candidates: Examples per request.
          max_ms: Largest 99th percentile of the latency, in milliseconds.
          tolerance: Largest difference between a served score and the training's; a share of scores
            beyond 1.
          signature: Signature of the model from transformed features to scores.
          start_seconds: Longest start of the server, in seconds.

        Raises:
          ValueError: requests or candidates is below 1.
        """
        if requests < 1 or candidates < 1:
            raise ValueError(
                f"requests and candidates must be 1 or more. Received: {requests}, {candidates}"
            )
        settings = Settings(
            server, split, requests, candidates, max_ms, tolerance, signature, start_seconds
        )
        spec = ModelCanarySpec(
            model=model,
            examples=examples,
            transform_graph=transform_graph,
            settings=json.dumps(dataclasses.asdict(settings)),
            blessing=types.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec)
