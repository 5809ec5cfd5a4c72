"""Trainer and Tuner: what goes in and out."""

from __future__ import annotations

from typing import Any

from tfx import components as tfx_components
from tfx import types
from tfx.dsl.components.base import executor_spec

from components.trainer.embeddings_input import add_embeddings
from components.trainer.executor import TrainerExecutor, TunerExecutor


class Trainer(tfx_components.Trainer):
    """The standard Trainer, with embeddings as one more input."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TrainerExecutor)

    def __init__(self, *, embeddings: types.BaseChannel | None = None, **trainer: Any):
        """Takes what the standard Trainer takes, by keyword, and:

        Args:
          embeddings: TokenEmbeddings for run_fn.
        """
        super().__init__(**trainer)
        add_embeddings(self, embeddings)


class Tuner(tfx_components.Tuner):
    """The standard Tuner, with embeddings as one more input."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(TunerExecutor)

    def __init__(self, *, embeddings: types.BaseChannel | None = None, **tuner: Any):
        """Takes what the standard Tuner takes, by keyword, and:

        Args:
          embeddings: TokenEmbeddings for tuner_fn.
        """
        super().__init__(**tuner)
        add_embeddings(self, embeddings)
