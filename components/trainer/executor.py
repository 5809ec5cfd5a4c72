"""The standard executors, which pass the folder of embeddings on, and publish a decision."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.trainer import executor as trainer_executor
from tfx.components.tuner import executor as tuner_executor

from components.trainer.decision_output import publish_decision
from components.trainer.embeddings_input import with_embeddings

_Artifacts = dict[str, list[types.Artifact]]


class TrainerExecutor(trainer_executor.GenericExecutor):
    """GenericExecutor with one more input and one more output."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        super().Do(input_dict, output_dict, with_embeddings(input_dict, exec_properties))
        publish_decision(output_dict)


class TunerExecutor(tuner_executor.Executor):
    """The Tuner's executor with one more input."""

    def Do(  # noqa: N802 - TFX's name
        self, input_dict: _Artifacts, output_dict: _Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        super().Do(input_dict, output_dict, with_embeddings(input_dict, exec_properties))
