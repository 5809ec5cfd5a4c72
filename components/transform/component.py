"""Declares the standard Transform with an executor for windows of many spans."""

from __future__ import annotations

from tfx import components as tfx_components
from tfx.dsl.components.base import executor_spec

from components.transform.executor import TransformExecutor


class Transform(tfx_components.Transform):
    """The standard Transform with another executor; see README.md."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)
