"""Measures how well one feature alone predicts the label."""

from __future__ import annotations

import numpy as np
from sklearn import metrics
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

_LEAVES = 32


def single_feature_skill(values: np.ndarray, labels: np.ndarray, measure: str) -> float:
    """Returns the mean cross-validated skill over two halves, of the better of two models.

    Args:
      values: Values of the feature, [rows], numbers or objects of text without None.
      labels: Labels, [rows], 0 and 1 for an AUC, else numbers.
      measure: 'AUC', or 'R2' for labels that are quantities.

    Returns:
      The AUC or R² on rows that the small model was not fitted to.
    """
    _, place = np.unique(values, return_inverse=True)
    models = [_means] if values.dtype == object else [_means, _tree]
    score = metrics.roc_auc_score if measure == "AUC" else metrics.r2_score
    found = []
    for model in models:
        halves = []
        for learned, asked in KFold(2, shuffle=True, random_state=0).split(values):
            truth = labels[asked]
            if len(np.unique(truth)) > 1:
                halves.append(float(score(truth, model(place, labels, learned)[asked])))
        found.append(float(np.mean(halves)) if halves else 0.0)
    return max(found)


def _means(place: np.ndarray, labels: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Predicts, for all rows, the mean label of the learned rows with the same value."""
    count = np.bincount(place[learned], minlength=place.max() + 1)
    total = np.bincount(place[learned], labels[learned], minlength=place.max() + 1)
    means: np.ndarray = ((total + labels[learned].mean()) / (count + 1))[place]
    return means


def _tree(place: np.ndarray, labels: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Predicts all rows with a tree over the rank of the values.

    The label need not rise or fall with the value. Ranks, unlike times in ms, are exact in the 32
    bits of a tree.
    """
    tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0)
    column = place[:, np.newaxis]
    predicted: np.ndarray = tree.fit(column[learned], labels[learned]).predict(column)
    return predicted
