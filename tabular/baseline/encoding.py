"""Turns batches into a matrix for trees: numbers as they are, categories as learned codes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabular.baseline.columns import TreeColumns
from tabular.baseline.rows import Batch

# HistGradientBoosting's largest number of values of a category.
LARGEST = 255


class GrowingCodes:
    """Numbers the values of each category in the order of their appearance."""

    def __init__(self, columns: TreeColumns):
        self.columns = columns
        self._index: dict[str, dict[Any, int]] = {name: {} for name in columns.categories}

    def matrix(self, batch: Batch) -> NDArray[np.float64]:
        """Returns a batch with these numbers in place of categories, [rows, columns]."""
        found = [*batch.numbers.values()]
        for name in self.columns.categories:
            index = self._index[name]
            add = lambda value, index=index: index.setdefault(value, len(index))  # noqa: E731
            found.append(_coded(*batch.categories[name], add))
        return _stacked(found, len(batch.labels))

    def encoding(self, matrix: NDArray[np.float64]) -> Encoding:
        """Returns the codes that follow from rows of `matrix()`, and replaces these in place.

        Args:
          matrix: Training rows, [rows, columns].
        """
        tables, others = {}, {}
        first = len(self.columns.names) - len(self.columns.categories)
        for place, name in enumerate(self.columns.categories, start=first):
            column = matrix[:, place]
            there = ~np.isnan(column)
            index = self._index[name]
            counts = np.bincount(column[there].astype(np.int64), minlength=len(index))
            order = sorted((-counts[number], value) for value, number in index.items())
            values = [value for count, value in order if count]
            others[name] = math.nan if len(values) <= LARGEST else LARGEST - 1.0
            own = values if len(values) <= LARGEST else values[: LARGEST - 1]
            tables[name] = {value: float(code) for code, value in enumerate(own)}
            codes = np.full(len(index), others[name])
            for value, code in tables[name].items():
                codes[index[value]] = code
            column[there] = codes[column[there].astype(np.int64)]
        return Encoding(self.columns, tables, others)


@dataclasses.dataclass(frozen=True)
class Encoding:
    """The codes of categories.

    Attributes:
      columns: Columns of the matrix.
      codes: Category -> value -> code, the most frequent value first.
      others: Category -> code of any other value. It is NaN, which is "missing", unless training
        had more than 255 values, of which the rare ones share a code.
    """

    columns: TreeColumns
    codes: Mapping[str, Mapping[Any, float]]
    others: Mapping[str, float]

    def matrix(self, batch: Batch) -> NDArray[np.float64]:
        """Returns numbers and codes, [rows, columns]; NaN where a value is missing."""
        found = [*batch.numbers.values()]
        for name in self.columns.categories:
            codes, other = self.codes[name], self.others[name]
            get = lambda value, codes=codes, other=other: codes.get(value, other)  # noqa: E731
            found.append(_coded(*batch.categories[name], get))
        return _stacked(found, len(batch.labels))


def _coded(values: NDArray[Any], there: NDArray[np.bool_], code_of: Any) -> NDArray[np.float64]:
    """Returns the code of each value, [rows]; NaN where there is none or it is NaN."""
    places, unique = pd.factorize(values)
    codes = np.array([*map(code_of, unique.tolist()), math.nan], np.float64)
    return np.where(there, codes[places], math.nan)  # -1, of NaN, is the last one


def _stacked(columns: list[NDArray[np.float64]], rows: int) -> NDArray[np.float64]:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))
