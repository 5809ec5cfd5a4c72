"""Declares LiveModel."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.live_model.executor import LiveModelExecutor


class LiveModelSpec(component_spec.ComponentSpec):
    PARAMETERS = {"base_directory": ExecutionParameter(type=str)}  # noqa: RUF012 - TFX's form
    INPUTS = {"candidate": ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012


class LiveModel(base_component.BaseComponent):
    """Copies the stable version from a Pusher's folder; `outputs['model']` is a Model."""

    SPEC_CLASS = LiveModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(LiveModelExecutor)

    def __init__(self, candidate: types.BaseChannel, base_directory: str):
        """Constructs a LiveModel.

        Args:
          candidate: Model of this run, which must not be compared with itself.
          base_directory: The Pusher's folder of versions.
        """
        spec = LiveModelSpec(
            candidate=candidate,
            base_directory=base_directory,
            model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec)
