"""Calls run_fn in the Python process of a Spark task."""

from __future__ import annotations

import logging
from pathlib import Path


def log_name(index: int) -> str:
    return f"worker-{index}.log"


def run(invocation: str, logs: str) -> None:
    """Calls run_fn with the fn_args of the standard executor.

    Args:
      invocation: Inputs, outputs and execution properties as JSON of TFX's json_utils.
      logs: Folder for the log of each worker.
    """
    from pyspark import BarrierTaskContext
    from tfx.components.trainer.executor import GenericExecutor
    from tfx.components.util import udf_utils
    from tfx.utils import json_utils

    _log_to(Path(logs) / log_name(BarrierTaskContext.get().partitionId()))
    inputs, outputs, exec_properties = json_utils.loads(invocation)
    fn_args = GenericExecutor()._GetFnArgs(inputs, outputs, exec_properties)
    udf_utils.get_fn(exec_properties, "run_fn")(fn_args)


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.partition(".")[0] not in ("absl", "py4j"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
