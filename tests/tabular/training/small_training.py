"""A small training, as a module and as a process: python small_training.py DATA FOLDER"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tabular.tasks import Binary
from tabular.training.checkpoints import RunFolder
from tabular.training.distribution import strategy, this_worker
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds, fit
from tabular.training.tracing import Network

SPEC = {
    "x": tf.io.FixedLenFeature([4], tf.float32),
    "item": tf.io.FixedLenFeature([], tf.int64),
    "clicked": tf.io.FixedLenFeature([], tf.int64),
}
TRAIN, EVAL = "Split-train/*.gz", "Split-eval/*.gz"
BATCH = 64
BINARY = Binary()


def write_examples(folder: Path, split: str, rows: int, files: int, seed: int = 0) -> None:
    """Rows whose click depends on x and the item; `row` numbers them."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(rows, 4)).astype(np.float32)
    item = chance.integers(0, 50, rows)
    clicked = chance.random(rows) < 1 / (1 + np.exp(-(x[:, 0] - x[:, 1] + item % 3 - 1)))
    for number, part in enumerate(np.array_split(np.arange(rows), files)):
        path = folder / f"Split-{split}" / f"{number:05d}.gz"
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
            for row in part:
                features = {
                    "x": tf.train.Feature(float_list=tf.train.FloatList(value=x[row])),
                    "item": _ints(item[row]),
                    "clicked": _ints(clicked[row]),
                    "row": _ints(row),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())


def _ints(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


def make_model(rate: float | keras.optimizers.schedules.LearningRateSchedule) -> keras.Model:
    keras.utils.set_random_seed(1)
    x, item = keras.Input([4], name="x"), keras.Input([], dtype=tf.int64, name="item")
    embedded = keras.layers.Embedding(50, 8)(item)
    hidden = keras.layers.Dense(32, activation="relu")(keras.layers.Concatenate()([x, embedded]))
    output = keras.layers.Dense(1, activation="sigmoid", name=BINARY.prediction)(hidden)
    model = Network({"x": x, "item": item}, output)
    model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy")
    return model


def train(
    data: Path, folder: Path, rounds: Rounds, rate: float = 0.003, logs: Path | None = None
) -> tuple[keras.Model, list[float]]:
    """Trains on the examples in `data`, as TF_CONFIG says; returns the model and the losses."""
    worker = this_worker()
    current = strategy(worker)
    examples = Examples.matching("train", [str(data / TRAIN)], SPEC, "clicked", worker)
    evaluation = Examples.matching("eval", [str(data / EVAL)], SPEC, "clicked", worker)
    with current.scope():
        schedule = keras.optimizers.schedules.CosineDecay(rate, rounds.total_steps, alpha=0.1)
        model = make_model(schedule)
    losses = fit(
        model,
        examples,
        evaluation,
        rounds,
        RunFolder(folder),
        BINARY,
        batch_size=BATCH,
        shuffle_rows=10_000,
        seed=5,
        log_folder=str(logs or folder / "logs"),
    )
    return model, losses


if __name__ == "__main__":
    _, history = train(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        Rounds(steps_per_round=150, max_rounds=12, patience=11),
    )
    print(json.dumps(history))
