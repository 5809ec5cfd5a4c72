"""Declares which raw features a model takes, and how each is treated.

A FeatureSet is data. Preprocessing, the network's inputs, the served signatures and the check of a
config follow from it. This module imports neither Spark nor TensorFlow.

    FEATURES = FeatureSet(
        label="churned",
        keys=("customer_id",),
        features=(
            Categorical("country", vocabulary=300),
            Numeric("age", buckets=10),
            Numeric("turnover", log=True),
            Ordinal("weekday", size=7),
            Cross(("country", "weekday"), hash_buckets=1000),
        ),
    )
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

FEATURES = "features"  # key of TFX's custom_config: FeatureSet.to_json()
_CONFIG = ConfigDict(extra="forbid")
PositiveInt = Annotated[int, Field(ge=1)]
FeatureType = TypeVar("FeatureType")


@dataclass(frozen=True, config=_CONFIG)
class Categorical:
    """A text or whole number, with a learned embedding for each value.

    Attributes:
      name: Raw feature, one value per row.
      vocabulary: Largest number of values with their own embedding. The most frequent values get
        one; rarer values are hashed to the out-of-vocabulary buckets.
      hash_buckets: Number of buckets that all values are hashed to, instead of a vocabulary.
      oov_buckets: Number of out-of-vocabulary buckets after a vocabulary.
    """

    name: str
    vocabulary: PositiveInt | None = None
    hash_buckets: PositiveInt | None = None
    oov_buckets: PositiveInt = 2
    kind: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        if (self.vocabulary is None) == (self.hash_buckets is None):
            raise ValueError(
                f"Categorical('{self.name}') must have either `vocabulary` or `hash_buckets`. "
                f"Received: vocabulary={self.vocabulary}, hash_buckets={self.hash_buckets}"
            )


@dataclass(frozen=True, config=_CONFIG)
class Numeric:
    """A number that is scaled into the dense vector, cut into embedded buckets, or both.

    Attributes:
      name: Raw feature, one value per row.
      scale: Whether it joins the dense vector, scaled to mean 0 and variance 1.
      log: Whether log(1 + value) replaces the value, for heavy tails; negative values count as 0.
      buckets: Number of buckets, cut at quantiles; None for no buckets.
    """

    name: str
    scale: bool = True
    log: bool = False
    buckets: Annotated[int, Field(ge=2)] | None = None
    kind: Literal["numeric"] = "numeric"

    def __post_init__(self) -> None:
        if not self.scale and self.buckets is None:
            raise ValueError(f"Numeric('{self.name}') must be scaled, have `buckets`, or both")


@dataclass(frozen=True, config=_CONFIG)
class Ordinal:
    """A small whole number that is its own index, such as a weekday.

    Attributes:
      name: Raw feature, one value per row.
      size: Number of values, counted from 0. Values outside the range count as the nearest inside.
    """

    name: str
    size: PositiveInt
    kind: Literal["ordinal"] = "ordinal"


@dataclass(frozen=True, config=_CONFIG)
class Sequence:
    """Past events as parallel lists, the most recent first, for a network with attention.

    Attributes:
      columns: Raw list feature -> Categorical feature whose vocabulary and embeddings it shares.
      length: Largest number of events; longer lists are cut.
      ages: Raw list feature with the age of each event, a float in any unit; None without ages.
    """

    columns: Mapping[str, str]
    length: PositiveInt
    ages: str | None = None
    kind: Literal["sequence"] = "sequence"

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("a Sequence must have at least one column")


@dataclass(frozen=True, config=_CONFIG)
class Recency:
    """Time since this row's value last occurred in a sequence, a number with a heavy tail.

    Attributes:
      name: Name of the new feature.
      column: List column of a Sequence with `ages`.
      longest: Age that stands for "never", in the unit of the ages. Higher ages count as never.
      buckets: Number of buckets, cut at quantiles.
    """

    name: str
    column: str
    longest: Annotated[float, Field(gt=0)]
    buckets: Annotated[int, Field(ge=2)]
    kind: Literal["recency"] = "recency"


@dataclass(frozen=True, config=_CONFIG)
class Bands:
    """A number cut at fixed boundaries, as an operand of a Cross.

    Attributes:
      name: Name of the bands, a part of the cross's name.
      of: Raw feature to cut.
      boundaries: Ascending boundaries. A value at a boundary belongs to the band above it.
    """

    name: str
    of: str
    boundaries: tuple[float, ...]
    kind: Literal["bands"] = "bands"

    def __post_init__(self) -> None:
        if not self.boundaries or list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(
                f"Bands('{self.name}'): boundaries must ascend. Received: {self.boundaries}"
            )


@dataclass(frozen=True, config=_CONFIG)
class Cross:
    """A combination of several features, hashed to one categorical feature.

    Attributes:
      of: Raw features with one value per row, or Bands of such a feature.
      hash_buckets: Number of different indices.
    """

    of: tuple[str | Bands, ...]
    hash_buckets: PositiveInt
    kind: Literal["cross"] = "cross"

    def __post_init__(self) -> None:
        if len(self.of) < 2:
            raise ValueError(f"a Cross must have at least two features. Received: {self.of}")

    @property
    def name(self) -> str:
        return "_x_".join(part if isinstance(part, str) else part.name for part in self.of)


_CLASSES = ("1", "0")
TaskName = Literal["binary", "multiclass", "regression"]
# Name of the served output of each task.
PREDICTIONS: Mapping[TaskName, str] = {
    "binary": "probability",
    "multiclass": "probabilities",
    "regression": "prediction",
}
Feature = Annotated[
    Categorical | Numeric | Ordinal | Sequence | Recency | Cross, Field(discriminator="kind")
]


@dataclass(frozen=True, config=_CONFIG)
class FeatureSet:
    """The features of an application's model.

    Attributes:
      label: Raw feature to predict: 0 and 1; 0, 1, ..., n-1 for n classes; any number for a
        regression.
      features: Features in the order in which the model takes them.
      keys: Raw features that the examples carry but the model does not learn from, such as ids.
      classes: Names of label 1 and label 0, in this order, for TensorFlow Serving's Classify. Of a
        multiclass model, the names of the labels 0, 1, ..., n-1.
      task: binary predicts the probability of label 1, multiclass those of all labels, regression
        the mean label.
      weight: Raw feature with the weight of each example, 0 or more, in the loss, the validation,
        the calibration and the Evaluator. None counts every example once.

    Raises:
      ValueError: Two features have one name, a feature refers to one that is not declared, or the
        classes do not fit the task.
    """

    label: str
    features: tuple[Feature, ...]
    keys: tuple[str, ...] = ()
    classes: tuple[str, ...] = _CLASSES
    task: TaskName = "binary"
    weight: str | None = None

    def __post_init__(self) -> None:
        self._check_classes()
        if not self.features:
            raise ValueError("a FeatureSet must have at least one feature")
        _check_names([*self.not_learned, *_names_of(self.features)])
        by_name = {one.name: one for one in self.categorical}
        for sequence in self.sequences:
            for column, shared in sequence.columns.items():
                if shared not in by_name:
                    raise ValueError(
                        f"Sequence column '{column}' shares the embeddings of '{shared}', which is "
                        f"no Categorical feature. Declared: {', '.join(by_name) or 'none'}"
                    )
        for recency in self.recencies:
            if self.sequence_of(recency.column).ages is None:
                raise ValueError(
                    f"Recency('{recency.name}') needs the `ages` of the Sequence that has "
                    f"'{recency.column}'"
                )
        self._check_crosses()

    @property
    def prediction(self) -> str:
        """The name of the served model's output, which `evaluator.prediction` names."""
        return PREDICTIONS[self.task]

    @property
    def class_count(self) -> int:
        """The number of labels, which are 0, 1, ...; 0 for a regression."""
        return 0 if self.task == "regression" else len(self.classes)

    @property
    def categorical(self) -> tuple[Categorical, ...]:
        return tuple(self._of(Categorical))

    @property
    def numeric(self) -> tuple[Numeric, ...]:
        return tuple(self._of(Numeric))

    @property
    def ordinal(self) -> tuple[Ordinal, ...]:
        return tuple(self._of(Ordinal))

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        return tuple(self._of(Sequence))

    @property
    def recencies(self) -> tuple[Recency, ...]:
        return tuple(self._of(Recency))

    @property
    def crosses(self) -> tuple[Cross, ...]:
        return tuple(self._of(Cross))

    @property
    def lists(self) -> dict[str, Sequence]:
        """Raw list feature, including ages -> its Sequence."""
        found: dict[str, Sequence] = {}
        for sequence in self.sequences:
            names = [*sequence.columns, *([sequence.ages] if sequence.ages else [])]
            found |= dict.fromkeys(names, sequence)
        return found

    @property
    def single_values(self) -> tuple[str, ...]:
        """Raw features with one value per row that the model takes."""
        found = [one.name for one in self.categorical]
        found += [one.name for one in self.numeric]
        found += [one.name for one in self.ordinal]
        for cross in self.crosses:
            found += [part if isinstance(part, str) else part.of for part in cross.of]
        return tuple(dict.fromkeys(found))

    @property
    def columns(self) -> tuple[str, ...]:
        """All raw features that the ETL must return, in the order of an example."""
        weight = () if self.weight is None else (self.weight,)
        return (*self.keys, self.label, *weight, *self.single_values, *self.lists)

    @property
    def not_learned(self) -> tuple[str, ...]:
        """Raw features that no request has: the label, the weight and the keys."""
        weight = () if self.weight is None else (self.weight,)
        return (self.label, *weight, *self.keys)

    def sequence_of(self, column: str) -> Sequence:
        """Returns the Sequence with this list column.

        Raises:
          ValueError: No Sequence has this column.
        """
        for sequence in self.sequences:
            if column in sequence.columns:
                return sequence
        raise ValueError(f"no Sequence has the column '{column}'")

    def to_json(self) -> dict[str, Any]:
        """Returns the declarations as JSON's types, for TFX's custom_config."""
        return dict(_adapter().dump_python(self, mode="json"))

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> FeatureSet:
        """Returns the FeatureSet that `to_json` wrote."""
        return _adapter().validate_python(content)

    def _of(self, kind: type[FeatureType]) -> Iterator[FeatureType]:
        return (one for one in self.features if isinstance(one, kind))

    def _check_classes(self) -> None:
        if self.task == "regression" and self.classes != _CLASSES:
            raise ValueError(f"a regression has no classes. Received: {self.classes}")
        if self.task == "binary" and len(self.classes) != 2:
            raise ValueError(
                "classes of a binary task must be the names of label 1 and label 0. Received: "
                f'{self.classes}. For more classes declare task="multiclass"'
            )
        if self.task == "multiclass" and len(self.classes) < 3:
            raise ValueError(
                "classes of a multiclass task must be the names of labels 0, 1, 2, ... Received: "
                f'{self.classes}. For two classes declare task="binary"'
            )
        if len({*self.classes}) < len(self.classes):
            raise ValueError(f"classes must have different names. Received: {self.classes}")

    def _check_crosses(self) -> None:
        known = {*self.not_learned, *self.lists}
        for cross in self.crosses:
            for part in cross.of:
                name = part if isinstance(part, str) else part.of
                if name in known:
                    raise ValueError(
                        f"Cross {cross.name} must combine features with one value per row. "
                        f"Received: '{name}', which is a label, a weight, a key or a list"
                    )


def transformed(name: str) -> str:
    """Returns the name of a feature after Transform, which is never the name of a raw feature."""
    return f"{name}_xf"


def _names_of(features: Iterable[Any]) -> Iterator[str]:
    for one in features:
        if isinstance(one, Sequence):
            yield from one.columns
            if one.ages is not None:
                yield one.ages
        else:
            yield one.name


def _check_names(names: list[str]) -> None:
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise ValueError(f"feature names must be unique. Declared twice: {', '.join(duplicates)}")


def _adapter() -> TypeAdapter[FeatureSet]:
    return TypeAdapter(FeatureSet)
