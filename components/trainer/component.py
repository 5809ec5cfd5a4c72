"""Declares Trainer and Tuner."""

from __future__ import annotations

from typing import Any

from tfx import components as tfx_components
from tfx import types
from tfx.dsl.components.base import executor_spec

from components.trainer.decision_output import add_decision
from components.trainer.embeddings_input import add_embeddings
from components.trainer.executor import TrainerExecutor, TunerExecutor


class Trainer(tfx_components.Trainer):
    """The standard Trainer, with embeddings as one more input and a decision as one more output."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(
        self,
        *,
        embeddings: types.BaseChannel | None = None,
        decision: bool = False,
        **trainer: Any,
    ):
        """Constructs a Trainer.

        Args:
          embeddings: TokenEmbeddings for run_fn.
          decision: Whether run_fn writes a decision beside the model, as that of tabular/ does with
            custom_config["decision"]. The output `decision` is a copy of it.
          **trainer: Arguments of the standard Trainer.
        """
        super().__init__(**trainer)
        add_embeddings(self, embeddings)
        if decision:
            add_decision(self)


class Tuner(tfx_components.Tuner):
    """The standard Tuner, with embeddings as one more input."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TunerExecutor)

    def __init__(self, *, embeddings: types.BaseChannel | None = None, **tuner: Any):
        """Constructs a Tuner.

        Args:
          embeddings: TokenEmbeddings for tuner_fn.
          **tuner: Arguments of the standard Tuner.
        """
        super().__init__(**tuner)
        add_embeddings(self, embeddings)
