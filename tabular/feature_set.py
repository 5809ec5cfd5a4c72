"""Declares which raw features a model takes, and how each is treated.

A FeatureSet is data: preprocessing, the network's inputs, the served signatures and the check of a
config follow from it. It is cheap to import: no Spark, no TensorFlow.

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
Declared = TypeVar("Declared")


@dataclass(frozen=True, config=_CONFIG)
class Categorical:
    """A text or whole number, with a learned embedding for each value.

    Attributes:
      name: Raw feature, one value a row.
      vocabulary: Largest number of values with an embedding of their own, the most frequent ones;
        rarer values are hashed to the out-of-vocabulary buckets.
      hash_buckets: In place of a vocabulary: values are hashed to so many buckets.
      oov_buckets: Number of out-of-vocabulary buckets behind a vocabulary.
    """

    name: str
    vocabulary: PositiveInt | None = None
    hash_buckets: PositiveInt | None = None
    oov_buckets: PositiveInt = 2
    kind: Literal["categorical"] = "categorical"

    def __post_init__(self) -> None:
        if (self.vocabulary is None) == (self.hash_buckets is None):
            raise ValueError(
                f"Categorical('{self.name}') must have either `vocabulary` or `hash_buckets`"
            )


@dataclass(frozen=True, config=_CONFIG)
class Numeric:
    """A number: scaled into the dense vector, cut into buckets with an embedding each, or both.

    Attributes:
      name: Raw feature, one value a row.
      scale: Whether it is scaled to mean 0 and variance 1, as a part of the dense vector.
      log: Whether log(1 + value) is scaled in its place, for heavy tails; below 0 counts as 0.
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
      name: Raw feature, one value a row.
      size: Number of different values, from 0; others count as the nearest of these.
    """

    name: str
    size: PositiveInt
    kind: Literal["ordinal"] = "ordinal"


@dataclass(frozen=True, config=_CONFIG)
class Sequence:
    """Events of the past, the most recent first: parallel lists, which attention looks at.

    Attributes:
      columns: Raw list feature -> Categorical feature that it is compared with, whose vocabulary
        and embeddings it shares.
      length: Events at most; longer lists are cut.
      ages: Raw list of floats: how long ago each event was, in any unit; None if there is none.
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
    """How long ago a sequence last had this row's value; treated as a number with a heavy tail.

    Attributes:
      name: Name of the feature that is made.
      column: List column of a Sequence with `ages`.
      longest: Age that stands for "never", in the unit of the ages; older counts as never.
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
      name: Name of the bands, part of the cross's name.
      of: Raw feature that is cut.
      boundaries: Ascending; a value at a boundary belongs to the band above it.
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
    """Several features taken together as one categorical feature, hashed.

    Attributes:
      of: Raw features of one value a row, or Bands of one.
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


Feature = Annotated[
    Categorical | Numeric | Ordinal | Sequence | Recency | Cross, Field(discriminator="kind")
]


@dataclass(frozen=True, config=_CONFIG)
class FeatureSet:
    """The features of an application's model.

    Attributes:
      label: Raw feature that the model learns; whole numbers 0 and 1.
      features: The features, in the order in which the model takes them.
      keys: Raw features that are carried along and not learned from, such as an identifier.
      classes: Names of label 1 and label 0, for TensorFlow Serving's Classify.

    Raises:
      ValueError: Two features have one name, or a feature refers to one that is not declared.
    """

    label: str
    features: tuple[Feature, ...]
    keys: tuple[str, ...] = ()
    classes: tuple[str, str] = ("1", "0")

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("a FeatureSet must have at least one feature")
        _check_names([self.label, *self.keys, *_names_of(self.features)])
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
        """Raw list feature, those with ages included -> its Sequence."""
        found: dict[str, Sequence] = {}
        for sequence in self.sequences:
            names = [*sequence.columns, *([sequence.ages] if sequence.ages else [])]
            found |= dict.fromkeys(names, sequence)
        return found

    @property
    def single_values(self) -> tuple[str, ...]:
        """Raw features that a model takes and that have one value a row."""
        found = [one.name for one in self.categorical]
        found += [one.name for one in self.numeric]
        found += [one.name for one in self.ordinal]
        for cross in self.crosses:
            found += [part if isinstance(part, str) else part.of for part in cross.of]
        return tuple(dict.fromkeys(found))

    @property
    def columns(self) -> tuple[str, ...]:
        """All raw features: what the ETL has to give, in the order of an example."""
        return (*self.keys, self.label, *self.single_values, *self.lists)

    def sequence_of(self, column: str) -> Sequence:
        """Returns the Sequence that has a list column.

        Raises:
          ValueError: No Sequence has it.
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
        """Returns the FeatureSet that `to_json` has written."""
        return _adapter().validate_python(content)

    def _of(self, kind: type[Declared]) -> Iterator[Declared]:
        return (one for one in self.features if isinstance(one, kind))

    def _check_crosses(self) -> None:
        known = {self.label, *self.keys, *self.lists}
        for cross in self.crosses:
            for part in cross.of:
                name = part if isinstance(part, str) else part.of
                if name in known:
                    raise ValueError(
                        f"Cross {cross.name}: '{name}' is a label, a key or a list; cross features "
                        "of one value a row"
                    )


def transformed(name: str) -> str:
    """Returns the name of a feature after Transform: raw and transformed ones never share one."""
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
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"features are declared twice: {', '.join(twice)}")


def _adapter() -> TypeAdapter[FeatureSet]:
    return TypeAdapter(FeatureSet)
