"""The columns that trees take of a FeatureSet."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from tabular.feature_set import FeatureSet, Recency


@dataclasses.dataclass(frozen=True)
class TreeColumns:
    """Columns of a matrix for trees, in this order.

    Attributes:
      numbers: Raw features that are numbers.
      recencies: Features that are computed from a sequence.
      categories: Raw features that are categories.
      not_read: Raw features of the model that trees cannot take.
    """

    numbers: tuple[str, ...]
    recencies: tuple[Recency, ...]
    categories: tuple[str, ...]
    not_read: tuple[str, ...]

    @classmethod
    def of(cls, features: FeatureSet, texts: Collection[str] = ()) -> TreeColumns:
        """Returns the columns of a FeatureSet. Label, weight and keys are never among them.

        Args:
          features: Declared features.
          texts: Raw features that are texts. An operand of a Cross that is no feature of its own is
            a category if it is one of them, else a number.
        """
        categories = [one.name for one in features.categorical]
        numbers = [one.name for one in features.numeric]
        numbers += [one.name for one in features.ordinal]
        for name in features.single_values:
            if name not in categories and name not in numbers:
                (categories if name in texts else numbers).append(name)
        not_read = tuple(features.lists)
        return cls(tuple(numbers), features.recencies, tuple(categories), not_read)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.numbers, *(one.name for one in self.recencies), *self.categories)

    @property
    def is_category(self) -> list[bool]:
        """Whether each column is a category."""
        count = len(self.numbers) + len(self.recencies)
        return [False] * count + [True] * len(self.categories)
