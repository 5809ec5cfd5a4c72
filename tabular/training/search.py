"""Searches parameters with keras-tuner, for TFX's Tuner and any training that returns a loss.

keras-tuner itself trains only models of the newest Keras. Here it chooses the next values to try
and keeps the best ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import base_tuner

from tabular.errors import TrainingError

_log = logging.getLogger(__name__)
_LOSS = "val_loss"


class Search(base_tuner.BaseTuner):
    """Bayesian optimization of a validation loss.

    Args:
      space: Parameter -> list of choices, or {"min", "max", "log"}; whole numbers stay whole.
      trials: Number of trials.
      seed: Seed of the first, random trials.
      train: Function from values and the trial's name to the validation loss. A TrainingError, such
        as a loss that is not finite, ends the trial but not the search.
      folder: Folder for the files of keras-tuner.
    """

    def __init__(
        self,
        space: Mapping[str, Any],
        trials: int,
        seed: int,
        train: Callable[[dict[str, Any], str], float],
        folder: str,
    ):
        self.train = train
        oracle = keras_tuner.oracles.BayesianOptimizationOracle(
            objective=keras_tuner.Objective(_LOSS, "min"),
            max_trials=trials,
            hyperparameters=hyperparameters(space),
            allow_new_entries=False,
            tune_new_entries=False,
            seed=seed,
        )
        super().__init__(oracle, directory=folder, project_name="search")

    def run_trial(self, trial, *args, **kwargs):  # type: ignore[no-untyped-def]
        values = dict(trial.hyperparameters.values)
        try:
            loss = self.train(values, trial.trial_id)
        except TrainingError as error:
            raise keras_tuner.errors.FailedTrialError(str(error)) from error
        _log.info("trial %s: %s -> %s %.5f", trial.trial_id, values, _LOSS, loss)
        return {_LOSS: loss}


def hyperparameters(space: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Returns a search space, described as in Search, in keras-tuner's form."""
    result = keras_tuner.HyperParameters()
    for name, values in space.items():
        if isinstance(values, list):
            result.Choice(name, values)
            continue
        low, high = values["min"], values["max"]
        whole = isinstance(low, int) and isinstance(high, int)
        kind = result.Int if whole else result.Float
        kind(name, low, high, sampling="log" if values.get("log") else "linear")
    return result
