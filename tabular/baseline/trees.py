"""Fits gradient-boosted trees until a second split no longer improves."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tabular.feature_set import TaskName

# Iterations after which the second split is looked at. Each time all trees are asked again.
_LOOKS = (25, 50, 100, 200, 400)
_PATIENCE = 25  # iterations without a lower loss
_SMALLEST = float(np.finfo(np.float64).eps)  # as the log loss of the metrics


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows to fit or to stop by.

    Attributes:
      matrix: Numbers and codes of categories, [rows, columns]; NaN where a value is missing.
      labels: Labels, [rows].
      weights: Weights, [rows].
    """

    matrix: NDArray[np.float64]
    labels: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class BoostedTrees:
    """Fitted trees.

    Attributes:
      model: HistGradientBoosting's model.
      classes: Number of classes; 0 for a regression.
    """

    model: Any
    classes: int

    @property
    def iterations(self) -> int:
        return int(self.model.n_iter_)

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predicts rows.

        Returns:
          Probability of label 1, [rows]; of several classes those of all, [rows, classes]; of a
          regression the number, [rows].
        """
        if not self.classes:
            return np.asarray(self.model.predict(matrix))
        found = _of_all_classes(self.model.predict_proba(matrix), self.model, self.classes)
        return found[:, 1] if self.classes == 2 else found


def fit_trees(
    learned: Rows, evaluation: Rows, is_category: Sequence[bool], task: TaskName, classes: int
) -> BoostedTrees:
    """Fits trees with scikit-learn's default parameters.

    Args:
      learned: Training rows.
      evaluation: Rows whose log loss or squared error chooses the number of iterations.
      is_category: Whether each column is a category.
      task: Task of the model.
      classes: Number of classes; 0 for a regression.
    """
    losses = _losses(_new_model(is_category, task), learned, evaluation, classes)
    model = _new_model(is_category, task).set_params(max_iter=int(np.argmin(losses)) + 1)
    model.fit(learned.matrix, _targets(learned, classes), learned.weights)
    return BoostedTrees(model, classes)


def _new_model(is_category: Sequence[bool], task: TaskName) -> Any:
    is_regression = task == "regression"
    kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    return kind(categorical_features=[*is_category], early_stopping=False, random_state=0)


def _losses(model: Any, learned: Rows, evaluation: Rows, classes: int) -> list[float]:
    """Returns the loss on `evaluation` after each iteration, until 25 have not improved it."""
    losses: list[float] = []
    for iterations in _LOOKS:
        model.set_params(warm_start=True, max_iter=iterations)
        model.fit(learned.matrix, _targets(learned, classes), learned.weights)
        for found in itertools.islice(_stages(model, evaluation, classes), len(losses), None):
            losses.append(_loss(found, evaluation, classes))
        if len(losses) - 1 - int(np.argmin(losses)) >= _PATIENCE:
            break
    return losses


def _targets(rows: Rows, classes: int) -> NDArray[Any]:
    return rows.labels.astype(np.int64) if classes else rows.labels


def _stages(model: Any, rows: Rows, classes: int) -> Iterator[NDArray[np.float64]]:
    """Yields the predictions of the first iteration, of the first two, and so on."""
    if not classes:
        yield from model.staged_predict(rows.matrix)
        return
    for found in model.staged_predict_proba(rows.matrix):
        yield _of_all_classes(found, model, classes)


def _of_all_classes(found: NDArray[np.float64], model: Any, classes: int) -> NDArray[np.float64]:
    """Returns probabilities of all classes, [rows, classes]; 0 of one without a training row."""
    every = np.zeros((len(found), classes))
    every[:, model.classes_] = found
    return every


def _loss(found: NDArray[np.float64], rows: Rows, classes: int) -> float:
    if not classes:
        return float(np.average((found - rows.labels) ** 2, weights=rows.weights))
    own = found[np.arange(len(found)), rows.labels.astype(np.int64)]
    return float(np.average(-np.log(np.clip(own, _SMALLEST, 1)), weights=rows.weights))
