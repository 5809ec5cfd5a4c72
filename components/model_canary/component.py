"""ModelCanary: what goes in and out."""

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
    """Starts a server with the candidate and asks it; see README.md."""

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
        """Constructs a ModelCanary; its output is `blessing`, a standard InfraBlessing.

        Args:
          model: of a Trainer.
          examples: raw ones, to ask with.
          transform_graph: of the Transform that made the training data.
          server: module; `python -m SERVER serve` is started.
          split: of `examples`.
          requests: how many to send, each of `candidates` examples.
          candidates: examples a request.
          max_ms: limit of the 99th percentile of the latency, in milliseconds.
          tolerance: limit of the difference between a served score and the training's.
          signature: of the model, from transformed features to scores.
          start_seconds: until the server has to answer.

        Raises:
          ValueError: requests or candidates is below 1.
        """
        if requests < 1 or candidates < 1:
            raise ValueError("requests and candidates are 1 or more")
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
