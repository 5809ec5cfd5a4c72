"""A run_fn of the kind that SparkTrainer wants, on the small training's examples."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import small_training
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.training.checkpoints import RunFolder, TrainingError
from pipeline.training.distribution import export, this_worker
from pipeline.training.rounds import Rounds

_log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains; leaves the losses, and who this worker was, beside the model."""
    config = fn_args.custom_config
    if "error" in config:
        raise TrainingError(config["error"])
    worker = this_worker()
    data = Path(fn_args.train_files[0]).parents[1]
    folder = RunFolder.of(fn_args, {"workers": worker.count})
    rounds = Rounds(config["steps"], config["most"], patience=99)
    logs = Path(fn_args.model_run_dir)
    model, losses = small_training.train(data, folder.path, rounds, logs=logs)
    export(lambda path: tf.saved_model.save(model, path), fn_args.serving_model_dir, worker)
    told = logs / f"told-{worker.index}.json"
    told.write_text(json.dumps({"workers": worker.count, "losses": losses, "pid": os.getpid()}))
    if worker.is_chief:
        folder.remove()
