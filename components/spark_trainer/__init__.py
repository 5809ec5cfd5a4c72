"""The standard Trainer's run_fn on several workers of a Spark cluster; see README.md."""

from __future__ import annotations

from typing import Any

__all__ = ["SparkTrainer"]


def __getattr__(name: str) -> Any:
    # Imported on demand, because Spark's workers import submodules and need no component.
    if name == "SparkTrainer":
        from components.spark_trainer.component import SparkTrainer

        return SparkTrainer
    raise AttributeError(name)
