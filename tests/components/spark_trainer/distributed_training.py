"""A run_fn of the kind that SparkTrainer wants, on the small training's examples."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras
from tfx.components.trainer.fn_args_utils import FnArgs

from tabular.errors import TrainingError
from tabular.training.checkpoints import RunFolder
from tabular.training.distribution import export, this_worker
from tabular.training.rounds import Rounds
from tests.tabular.training import small_training

_log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains; leaves the losses, and who this worker was, beside the model."""
    config = fn_args.custom_config
    if "error" in config:
        raise TrainingError(config["error"])
    worker = this_worker()
    data = Path(fn_args.train_files[0]).parents[1]
    folder = RunFolder.for_run(fn_args, {"workers": worker.count})
    rounds = Rounds(config["steps"], config["max_rounds"], patience=99)
    if worker.index == 1:
        _wait_before_loading(config.get("wait_before_loading", 0))
    logs = Path(fn_args.model_run_dir)
    model, losses = small_training.train(data, folder.path, rounds, logs=logs)
    if worker.is_chief:
        folder.remove()  # at once: an export need not wait for the other worker
    export(lambda path: tf.saved_model.save(model, path), fn_args.serving_model_dir, worker)
    told = logs / f"told-{worker.index}.json"
    told.write_text(json.dumps({"workers": worker.count, "losses": losses, "pid": os.getpid()}))


def _wait_before_loading(seconds: float) -> None:
    """As on a machine with other work: the chief may have long finished."""
    load = keras.Model.load_weights

    def late(model: keras.Model, *arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return load(model, *arguments, **options)

    keras.Model.load_weights = late
