"""Checkpoints of a run, and the progress of an interrupted run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from base.atomic_files import write_json
from tabular.errors import TrainingError

if TYPE_CHECKING:  # importing TFX takes seconds
    from tfx.components.trainer.fn_args_utils import FnArgs

_EPOCH = "ckpt_saved_epoch/.ATTRIBUTES/VARIABLE_VALUE"  # variable of Keras' BackupAndRestore


class RunFolder:
    """The folder of one training, with everything that an interrupted run needs to continue.

        backup/             Keras' BackupAndRestore: weights, optimizer, number of rounds
        best.h5             weights of the round with the lowest validation loss so far
        rounds.json         validation loss of each round

    All workers must see this folder on a shared file system, like the artifacts.
    """

    def __init__(self, path: Path):
        self.path = path
        self.backup = path / "backup"
        self.best = path / "best.h5"
        self._history = path / "rounds.json"

    @classmethod
    def for_run(cls, fn_args: FnArgs, settings: Mapping[str, Any]) -> RunFolder:
        """Returns the folder beside the Trainer's artifacts, named by all that affects the result.

        Args:
          fn_args: Arguments of run_fn. Its input folders are never written again.
          settings: Further values that affect the result, such as the number of workers.
        """
        inputs: list[Any] = [fn_args.train_files, fn_args.eval_files, fn_args.transform_output]
        inputs += [fn_args.base_model, fn_args.hyperparameters, fn_args.custom_config]
        text = json.dumps([inputs, dict(settings)], sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        trainer = Path(fn_args.model_run_dir).parents[1]
        return cls(trainer / ".checkpoints" / name)

    def rounds_done(self) -> int:
        """Returns the number of rounds whose weights are saved."""
        newest = self._newest()
        return 0 if newest is None else int(tf.train.load_checkpoint(newest).get_tensor(_EPOCH)) + 1

    def check(self, model: tf.Module) -> None:
        """Raises TrainingError if `model` cannot continue from the checkpoint in the folder."""
        newest = self._newest()
        if newest is None:
            return
        try:
            saved = tf.train.Checkpoint(model=model).read(newest)
            saved.assert_existing_objects_matched().expect_partial()
            self.rounds_done()
        except (tf.errors.OpError, ValueError, AssertionError, LookupError) as error:
            first_line = str(error).strip().partition("\n")[0]
            raise TrainingError(
                "the checkpoint of an earlier run is damaged or belongs to another model. Remove "
                f"{self.path} to train from the start ({first_line})"
            ) from error

    def _newest(self) -> str | None:
        newest: str | None = tf.train.latest_checkpoint(str(self.backup / "chief"))
        return newest

    def losses(self) -> list[float]:
        """Returns the validation loss of each completed round."""
        if not self._history.exists():
            return []
        losses: list[float] = json.loads(self._history.read_text("utf-8"))
        return losses[: self.rounds_done()]

    def write_losses(self, losses: list[float]) -> None:
        write_json(self._history, losses)

    def remove(self) -> None:
        """Removes the checkpoints of this run and of abandoned runs."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
