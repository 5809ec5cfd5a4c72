"""Declares SparkTrainer, the standard Trainer with an executor that trains on Spark."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfx.dsl.components.base import executor_spec

from components.spark_trainer.executor import SETTINGS, SparkTrainerExecutor
from components.trainer.component import Trainer
from spark_io.sources.source_types import SparkConfig


class SparkTrainer(Trainer):
    """Trains on several workers, each a task of one Spark barrier stage.

    Inputs, outputs and `run_fn` are the standard Trainer's. `run_fn` runs on every worker, with
    TF_CONFIG set for `tf.distribute.MultiWorkerMirroredStrategy`, and creates that strategy.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(SparkTrainerExecutor)

    def __init__(
        self,
        *,
        workers: int,
        spark: SparkConfig,
        custom_config: dict[str, Any] | None = None,
        **trainer: Any,
    ):
        """Constructs a SparkTrainer.

        Args:
          workers: Number of workers. Spark must have as many free slots at once.
          spark: Master and settings of Spark. Its executors need this project's Python
            (`spark.pyspark.python`) and folders at the same paths, and the pipeline root.
          custom_config: Further values for run_fn.
          **trainer: Arguments of the Trainer.

        Raises:
          ValueError: `workers` is below 1.
        """
        if workers < 1:
            raise ValueError(f"workers must be 1 or more. Received: {workers}")
        settings = {"workers": workers, "spark": dataclasses.asdict(spark)}
        super().__init__(custom_config={**(custom_config or {}), SETTINGS: settings}, **trainer)
