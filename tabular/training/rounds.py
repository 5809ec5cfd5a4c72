"""fit(): rounds of steps, each validated and saved; stops early and returns the best weights."""

from __future__ import annotations

import dataclasses
import logging
import math
import tempfile
from pathlib import Path

import tensorflow as tf
import tf_keras as keras

from base.atomic_files import whole_file
from tabular.training.averaging import averaged_weights
from tabular.training.checkpoints import RunFolder, TrainingError
from tabular.training.distribution import of_all_workers, wait_for_all
from tabular.training.examples import Examples, NoExamplesError
from tabular.training.validation import Scorer, validated

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How long to train.

    Attributes:
      steps: batches a round.
      most: rounds at most.
      patience: rounds without a lower validation loss before it stops.
    """

    steps: int
    most: int
    patience: int

    @classmethod
    def of(
        cls, rows: int, batch_size: int, epochs: int, rounds_per_epoch: int, patience: int
    ) -> Rounds:
        """For so many rows over all workers."""
        steps = max(1, math.ceil(rows / batch_size / rounds_per_epoch))
        return cls(steps, epochs * rounds_per_epoch, patience)

    @property
    def all_steps(self) -> int:
        return self.steps * self.most


class _Validation(keras.callbacks.Callback):
    """Validates each round, keeps the best weights, and ends the training when none gets better.

    It survives a restart: what it knows lies in the run's folder.
    """

    def __init__(self, examples: Examples, rounds: Rounds, folder: RunFolder):
        super().__init__()
        self.examples, self.rounds, self.folder = examples, rounds, folder
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
        return since_best > self.rounds.patience or len(self.losses) >= self.rounds.most

    def on_epoch_end(self, epoch, logs=None):  # type: ignore[no-untyped-def]
        with averaged_weights(self.model):
            # Keras writes the logs for TensorBoard after this callback.
            logs.update(validated(self.scorer, self.examples, self.model.distribute_strategy))
            loss = logs["val_loss"]
            _log.info("round %d of %d: %s", epoch + 1, self.rounds.most, _described(logs))
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the validation loss is {loss} after round {epoch + 1}: lower "
                    "trainer.parameters.learning_rate, or look for absurd values in the features"
                )
            self.losses.append(loss)
            if loss == min(self.losses):
                self._save()
        if self.worker.is_chief:
            self.folder.write_losses(self.losses)
        self.model.stop_training = self.is_over

    def _save(self) -> None:
        """Saves the weights by the chief. Reading distributed weights takes all workers.

        Not `.weights.h5`: in that format are metrics too, which several workers cannot load.
        """
        if not self.worker.is_chief:
            with tempfile.TemporaryDirectory() as elsewhere:
                self.model.save_weights(Path(elsewhere) / "thrown-away.h5")
            return
        with whole_file(self.folder.best) as partial:
            self.model.save_weights(partial, save_format="h5")  # the name would say another


def _described(logs: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in logs.items())


def fit(
    model: keras.Model,
    train: Examples,
    evaluation: Examples,
    rounds: Rounds,
    folder: RunFolder,
    *,
    batch_size: int,
    shuffle_rows: int,
    seed: int,
    log_folder: str,
) -> list[float]:
    """Trains, going on where a run of the same folder was cut off; `model` gets the best weights.

    Args:
      model: compiled, made within the strategy's scope.
      train: this worker's share of the training examples.
      evaluation: this worker's share of the examples to validate with.
      rounds: how long.
      folder: of this run's checkpoints.
      batch_size: rows a step over all workers.
      shuffle_rows: rows of a worker to shuffle among.
      seed: of the shuffle.
      log_folder: for TensorBoard.

    Returns:
      The log loss on `evaluation` after each round.

    Raises:
      TrainingError: the loss is not finite, or the folder's checkpoint is not the model's.
    """
    worker = train.shard
    folder.check(model)
    validation = _Validation(evaluation, rounds, folder)
    done = folder.rounds_done()
    if done:
        _log.info("going on after round %d of an earlier run", done)
    share = batch_size // worker.count

    def batches(_: tf.distribute.InputContext) -> tf.data.Dataset:
        return train.shuffled(share, shuffle_rows, seed + worker.index, done * rounds.steps)

    current = model.distribute_strategy
    if not validation.is_over:
        if not of_all_workers(evaluation.counts[:1], current).max():
            raise NoExamplesError(f"split eval has no examples: {evaluation.files} are empty")
        model.fit(
            current.distribute_datasets_from_function(batches),
            epochs=rounds.most,
            steps_per_epoch=rounds.steps,
            callbacks=[
                validation,
                keras.callbacks.TensorBoard(log_folder, update_freq="epoch"),
                keras.callbacks.BackupAndRestore(str(folder.backup), delete_checkpoint=False),
            ],
            verbose=0,
        )
    wait_for_all(current)  # the chief has written them
    model.load_weights(folder.best)
    wait_for_all(current)  # all have read them: the chief may remove them
    return validation.losses
