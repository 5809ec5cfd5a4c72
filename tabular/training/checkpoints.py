"""Where a run's checkpoints lie, and what a run that was cut off had reached."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from base.atomic_files import write_json
from base.errors import ComponentError

if TYPE_CHECKING:  # importing TFX takes seconds
    from tfx.components.trainer.fn_args_utils import FnArgs

_EPOCH = "ckpt_saved_epoch/.ATTRIBUTES/VARIABLE_VALUE"  # of Keras's BackupAndRestore


class TrainingError(ComponentError):
    """A training that gives no usable model; the text is one line with the next step."""


class RunFolder:
    """The folder of one training: everything it needs to go on after it was cut off.

        backup/             Keras's BackupAndRestore: weights, optimizer, number of rounds
        best.h5             of the round with the lowest validation loss so far
        rounds.json         what each round was validated to be

    All workers of a training must see it (a shared file system, as for the artifacts).
    """

    def __init__(self, path: Path):
        self.path = path
        self.backup = path / "backup"
        self.best = path / "best.h5"
        self._history = path / "rounds.json"

    @classmethod
    def of(cls, fn_args: FnArgs, what: Mapping[str, Any]) -> RunFolder:
        """Beside the artifacts of the Trainer, named by all that decides the result.

        Args:
          fn_args: of run_fn. Its inputs lie in folders that are never written again.
          what: more that decides the result, such as the number of workers.
        """
        inputs: list[Any] = [fn_args.train_files, fn_args.eval_files, fn_args.transform_output]
        inputs += [fn_args.base_model, fn_args.hyperparameters, fn_args.custom_config]
        text = json.dumps([inputs, dict(what)], sort_keys=True, default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        trainer = Path(fn_args.model_run_dir).parents[1]
        return cls(trainer / ".checkpoints" / name)

    def rounds_done(self) -> int:
        """Rounds whose weights are saved."""
        newest = self._newest()
        return 0 if newest is None else int(tf.train.load_checkpoint(newest).get_tensor(_EPOCH)) + 1

    def check(self, model: tf.Module) -> None:
        """Raises TrainingError if there is a checkpoint that `model` cannot go on from."""
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
                "the checkpoint of an earlier run is damaged, or that of another model; remove "
                f"{self.path} to train from the start ({first_line})"
            ) from error

    def _newest(self) -> str | None:
        return tf.train.latest_checkpoint(str(self.backup / "chief"))

    def losses(self) -> list[float]:
        """Validation loss of each round that is done."""
        if not self._history.exists():
            return []
        return json.loads(self._history.read_text("utf-8"))[: self.rounds_done()]

    def write_losses(self, losses: list[float]) -> None:
        write_json(self._history, losses)

    def remove(self) -> None:
        """Removes this run's checkpoints and those of runs that nobody went on with."""
        shutil.rmtree(self.path.parent, ignore_errors=True)
