"""Trains in rounds of steps, each validated and saved. Stops early and keeps the best weights."""

from __future__ import annotations

import dataclasses
import logging
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras

from base.atomic_files import whole_file
from tabular.errors import TrainingError
from tabular.labels import Factors
from tabular.tasks import Task
from tabular.training.averaging import averaged_weights
from tabular.training.checkpoints import RunFolder
from tabular.training.distribution import gather_from_workers, wait_for_all_workers
from tabular.training.examples import Examples, NoExamplesError
from tabular.training.tracing import without_autograph
from tabular.training.validation import Scorer, validation_metrics

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Length of a training.

    Attributes:
      steps_per_round: Batches per round.
      max_rounds: Largest number of rounds.
      patience: Number of rounds without a lower validation loss before training stops.
    """

    steps_per_round: int
    max_rounds: int
    patience: int

    @classmethod
    def for_rows(
        cls, rows: int, batch_size: int, epochs: int, rounds_per_epoch: int, patience: int
    ) -> Rounds:
        """Returns the rounds for this number of rows over all workers."""
        steps = max(1, math.ceil(rows / batch_size / rounds_per_epoch))
        return cls(steps, epochs * rounds_per_epoch, patience)

    @property
    def total_steps(self) -> int:
        return self.steps_per_round * self.max_rounds


class _Validation(keras.callbacks.Callback):
    """Validates each round, keeps the best weights, and stops when rounds no longer improve.

    Its state is in the run's folder and survives a restart.
    """

    def __init__(self, examples: Examples, rounds: Rounds, folder: RunFolder, task: Task):
        super().__init__()
        self.examples, self.rounds, self.folder, self.task = examples, rounds, folder, task
        self.worker = examples.shard
        self.losses = folder.losses()

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.scorer = Scorer(model)

    @property
    def is_over(self) -> bool:
        if not self.losses:
            return False
        since_best = len(self.losses) - 1 - self.losses.index(min(self.losses))
        return since_best > self.rounds.patience or len(self.losses) >= self.rounds.max_rounds

    def on_epoch_end(self, epoch, logs=None):  # type: ignore[no-untyped-def]
        with averaged_weights(self.model):
            # Keras writes the logs for TensorBoard after this callback.
            logs.update(
                validation_metrics(
                    self.scorer, self.examples, self.model.distribute_strategy, self.task
                )
            )
            loss = logs["val_loss"]
            _log.info("round %d of %d: %s", epoch + 1, self.rounds.max_rounds, _described(logs))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the validation loss is {loss} after round {epoch + 1}: lower "
                    "trainer.parameters.learning_rate, or look for extreme values in the features"
                )
            self.losses.append(loss)
            if loss == min(self.losses):
                self._save()
        if self.worker.is_chief:
            self.folder.write_losses(self.losses)
        self.model.stop_training = self.is_over

    def _save(self) -> None:
        """Saves the chief's weights. All workers take part in reading distributed weights.

        The format is not `.weights.h5`, which includes metrics that several workers cannot load.
        """
        if not self.worker.is_chief:
            with tempfile.TemporaryDirectory() as elsewhere:
                self.model.save_weights(Path(elsewhere) / "thrown-away.h5")
            return
        with whole_file(self.folder.best) as partial:
            self.model.save_weights(partial, save_format="h5")  # the name implies another format


def weighted(factors: Factors) -> Callable[..., tuple[Any, tf.Tensor, tf.Tensor]]:
    """Returns a function of a batch that gives each row its weight in the loss.

    Args:
      factors: As for `fit`.

    Returns:
      Function from features, labels [batch, 1] and, if the rows have them, weights [batch, 1] to
      features, labels and weights [batch].
    """

    def weigh(
        features: Any, labels: tf.Tensor, weights: tf.Tensor | None = None
    ) -> tuple[Any, tf.Tensor, tf.Tensor]:
        place = labels[:, 0] if len(factors) > 1 else tf.zeros_like(labels[:, 0])
        found = tf.gather(tf.constant(factors, tf.float32), tf.cast(place, tf.int32))
        return features, labels, found if weights is None else found * weights[:, 0]

    return without_autograph(weigh)  # type: ignore[no-any-return]


def _described(logs: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in logs.items())


def fit(
    model: keras.Model,
    train: Examples,
    evaluation: Examples,
    rounds: Rounds,
    folder: RunFolder,
    task: Task,
    *,
    batch_size: int,
    shuffle_rows: int,
    seed: int,
    log_folder: str,
    factors: Factors | None = None,
) -> list[float]:
    """Trains `model` to its best weights, continuing an interrupted run of the same folder.

    Args:
      model: Compiled model, built in the strategy's scope.
      train: This worker's share of the training examples.
      evaluation: This worker's share of the validation examples.
      rounds: Length of the training.
      folder: Folder for this run's checkpoints.
      task: Task, whose metrics validate each round.
      batch_size: Rows per step over all workers.
      shuffle_rows: Rows in a worker's shuffle buffer.
      seed: Seed of the shuffle.
      log_folder: Folder for TensorBoard.
      factors: Factor of each class, or one for all, that multiplies the weight of a row in the
        loss, [classes or 1]; None if every row counts 1.

    Returns:
      Validation loss on `evaluation` after each round.

    Raises:
      TrainingError: The loss is not finite, or the folder's checkpoint belongs to another model.
    """
    worker = train.shard
    folder.check(model)
    validation = _Validation(evaluation, rounds, folder, task)
    done = folder.rounds_done()
    if done:
        _log.info("continuing after round %d of an earlier run", done)
    share = batch_size // worker.count

    def batches(_: tf.distribute.InputContext) -> tf.data.Dataset:
        found = train.shuffled(
            share, shuffle_rows, seed + worker.index, done * rounds.steps_per_round
        )
        return found if factors is None else found.map(weighted(factors))

    current = model.distribute_strategy
    if not validation.is_over:
        if not gather_from_workers([evaluation.labels.rows], current).max():
            files = ", ".join(evaluation.files)
            raise NoExamplesError(f"split eval has no examples: {files} are empty")
        model.fit(
            current.distribute_datasets_from_function(batches),
            epochs=rounds.max_rounds,
            steps_per_epoch=rounds.steps_per_round,
            callbacks=[
                validation,
                keras.callbacks.TensorBoard(log_folder, update_freq="epoch"),
                keras.callbacks.BackupAndRestore(str(folder.backup), delete_checkpoint=False),
            ],
            verbose=0,
        )
    wait_for_all_workers(current)  # until the chief has written the weights
    model.load_weights(folder.best)
    wait_for_all_workers(current)  # until all have read them, since the chief may remove the file
    return validation.losses
