"""run_fn that measures: examples a second of the training, and of its input alone.

The parts are those of the application's own training; validation, checkpoints and export are left
out, as they are on the other side of the comparison.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from tfx.components.trainer.fn_args_utils import FnArgs

from tabular.entry_points import dense_width, labels_of_all, transformed_sizes
from tabular.feature_set import FEATURES, FeatureSet
from tabular.keras_model import build_model, compile_model, input_names
from tabular.parameters import TrainerParameters
from tabular.training import distribution
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds

ANSWER = "speed.json"  # in model_run_dir, by the chief


class _Pass(keras.callbacks.Callback):
    """The seconds of the last pass over the data; the first one compiles and fills caches."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds = time.monotonic() - self.started


def run_fn(fn_args: FnArgs) -> None:
    """Two passes over the training data; `custom_config` has the application's `parameters`."""
    parameters = TrainerParameters(**fn_args.custom_config["parameters"])
    features = FeatureSet.from_json(fn_args.custom_config[FEATURES])
    worker = distribution.this_worker()
    strategy = distribution.strategy(worker)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    sizes = transformed_sizes(transform, features)
    everything = transform.transformed_feature_spec()
    spec = {
        name: everything[name]
        for name in (*input_names(features, sizes, parameters), features.label)
    }
    train = Examples.matching("train", fn_args.train_files, spec, features.label, worker)
    labels = labels_of_all(train, strategy)
    rounds = Rounds.for_rows(labels.rows, parameters.batch_size, 2, 1, 0)
    with strategy.scope():
        model = build_model(features, sizes, dense_width(transform), parameters, labels)
        compile_model(model, features, parameters, rounds, labels)
    share = parameters.batch_size // worker.count

    def batches(_: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return train.shuffled(share, parameters.shuffle_rows, parameters.seed + worker.index)

    measured = _Pass()
    model.fit(
        strategy.distribute_datasets_from_function(batches),
        epochs=2,
        steps_per_epoch=rounds.steps_per_round,
        callbacks=[measured],
        verbose=0,
    )
    answer = {"training": rounds.steps_per_round * parameters.batch_size / measured.seconds}
    if worker.count == 1:
        answer["input"] = _input_alone(batches(), rounds.steps_per_round) * parameters.batch_size
    if worker.is_chief:
        Path(fn_args.model_run_dir).mkdir(parents=True, exist_ok=True)
        (Path(fn_args.model_run_dir) / ANSWER).write_text(json.dumps(answer), "utf-8")
        Path(fn_args.serving_model_dir).mkdir(parents=True)  # the executor looks for it


def _input_alone(batches: tf.data.Dataset, steps: int) -> float:
    """Batches a second of one pass, after one."""
    iterator = iter(batches)
    for _ in range(steps):
        next(iterator)
    started = time.monotonic()
    for _ in range(steps):
        next(iterator)
    return steps / (time.monotonic() - started)
