"""Aggregations of past events: counts, sums, distinct values, the last events ...

Each aggregation names the parts (parts.py) that it is made from, its columns, and how a column
follows from the parts' states: in Spark, and in plain Python for serving.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

from base.durations import HOUR_MS
from features.parts import MS, Ends, Events, Moments, Number, Part, Sketch


class Aggregation(abc.ABC):
    """A value of the events of a window."""

    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Returns the names of its columns, without group and window."""

    @abc.abstractmethod
    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        """Returns the parts of its state.

        Args:
          stream: Stream of the group.
          where: Condition of the group.
        """

    @abc.abstractmethod
    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        """Returns its columns from the states of its parts, null where there were no events."""

    @abc.abstractmethod
    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        """Returns the same values in Python; a state is None where there were no events."""

    def empty_values(self) -> tuple[Any, ...]:
        """Returns the values of an entity without a past."""
        return self.values([None] * len(self.parts("", None)), 0)


@dataclasses.dataclass(frozen=True)
class Count(Aggregation):
    """The number of events; 0 if there were none."""

    name: str = "count"

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Events(stream, where, ()),)

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        return (F.coalesce(states[0], F.lit(0)).cast("long"),)

    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        return (int(states[0] or 0),)


@dataclasses.dataclass(frozen=True)
class _OfNumbers(Aggregation):
    """An aggregation of a column of numbers. Nulls, NaN and infinities do not count.

    Attributes:
      column: The column.
      name: Name of the result; by default the kind and the column, such as sum_amount.
      empty: Value where no event counts; None leaves the feature out of the example.
    """

    column: str
    name: str = ""
    empty: float | None = None

    def names(self) -> tuple[str, ...]:
        return (self.name or f"{type(self).__name__.lower()}_{self.column}",)

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        found = self._column(*states).cast("double")
        return (found if self.empty is None else F.coalesce(found, F.lit(float(self.empty))),)

    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        found = None if states[0] is None else self._value(*states)
        return (self.empty if found is None else found,)

    def _column(self, *states: Column) -> Column:
        return states[0]

    def _value(self, *states: Any) -> float:
        return float(states[0])


@dataclasses.dataclass(frozen=True)
class Sum(_OfNumbers):
    """The sum of a column; 0 if no event counts."""

    empty: float | None = 0.0

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Number(stream, where, (self.column,), "sum"),)


@dataclasses.dataclass(frozen=True)
class Min(_OfNumbers):
    """The least value of a column."""

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Number(stream, where, (self.column,), "min"),)


@dataclasses.dataclass(frozen=True)
class Max(_OfNumbers):
    """The largest value of a column."""

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Number(stream, where, (self.column,), "max"),)


@dataclasses.dataclass(frozen=True)
class Mean(_OfNumbers):
    """The mean of a column."""

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        column = (self.column,)
        return Number(stream, where, column, "sum"), Events(stream, where, column)

    def _column(self, *states: Column) -> Column:
        return states[0] / states[1]

    def _value(self, *states: Any) -> float:
        return float(states[0] / states[1])


@dataclasses.dataclass(frozen=True)
class Variance(_OfNumbers):
    """The population variance of a column; 0 for a single value."""

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Moments(stream, where, (self.column,)),)

    def _column(self, *states: Column) -> Column:
        return states[0]["squares"] / states[0]["count"]

    def _value(self, *states: Any) -> float:
        count, _, squares = states[0]
        return float(squares / count)


@dataclasses.dataclass(frozen=True)
class Distinct(Aggregation):
    """The number of distinct values of a column, by HyperLogLog: standard error 1.6 %."""

    column: str
    name: str = ""

    def names(self) -> tuple[str, ...]:
        return (self.name or f"distinct_{self.column}",)

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Sketch(stream, where, (self.column,)),)

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        return (F.coalesce(F.hll_sketch_estimate(states[0]), F.lit(0)).cast("long"),)

    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        return (0 if states[0] is None else round(states[0].get_estimate()),)


@dataclasses.dataclass(frozen=True)
class Rate(Aggregation):
    """The smoothed rate of this group's events among those of another stream, by the same keys.

    It is (events + strength * prior) / (others + strength): the prior for an entity without a past,
    and ever closer to the plain rate with its events (additive smoothing, as in empirical Bayes).

    Attributes:
      of: The other stream, such as the payments that disputes are about.
      prior: Rate of an entity without a past.
      strength: Weight of the prior, as a number of the other events.
      where: Condition on the other stream's events.
      name: Name of the result.
    """

    of: str
    prior: float
    strength: float
    where: str | None = None
    name: str = "rate"

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return Events(stream, where, ()), Events(self.of, self.where, ())

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        events, others = (F.coalesce(state, F.lit(0)) for state in states)
        weight = F.lit(float(self.strength))
        return ((events + weight * F.lit(float(self.prior))) / (others + weight),)

    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        events, others = (state or 0 for state in states)
        return ((events + self.strength * self.prior) / (others + self.strength),)


@dataclasses.dataclass(frozen=True)
class _OfEnds(Aggregation):
    """The first or last events: a value of each column, or aligned lists of them.

    Attributes:
      columns_of: Column or columns of the event.
      length: Largest length of the lists; None for the values of a single event.
      hours: Name of another column with the hours since each event; None for none.
      named: Names of the results; by default the kind and each column, such as last_device.
    """

    columns_of: str | tuple[str, ...]
    length: int | None = None
    hours: str | None = None
    named: tuple[str, ...] = ()

    def _read(self) -> tuple[str, ...]:
        return (self.columns_of,) if isinstance(self.columns_of, str) else self.columns_of

    def names(self) -> tuple[str, ...]:
        kind = type(self).__name__.lower()
        named = self.named or tuple(f"{kind}_{column}" for column in self._read())
        return (*named, self.hours) if self.hours else named

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        last = isinstance(self, Last)
        return (Ends(stream, where, self._read(), self.length or 1, last),)

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        (entries,) = states
        fields = [entries[f"c{place}"] for place in range(len(self._read()))]
        if self.hours:
            since = lambda entry: ((time_ms - entry[MS]) / HOUR_MS).cast("float")  # noqa: E731
            fields.append(F.transform(entries, since))
        if self.length is None:
            return tuple(F.get(field, F.lit(0)) for field in fields)
        return tuple(F.coalesce(field, F.array()) for field in fields)

    def values(self, states: Sequence[Any], time_ms: int) -> tuple[Any, ...]:
        entries = states[0] or []
        fields = [[entry[place + 1] for entry in entries] for place in range(len(self._read()))]
        if self.hours:
            fields.append([(time_ms - entry[0]) / HOUR_MS for entry in entries])
        if self.length is None:
            return tuple(field[0] if field else None for field in fields)
        return tuple(fields)


@dataclasses.dataclass(frozen=True)
class Last(_OfEnds):
    """The last events, the latest first."""


@dataclasses.dataclass(frozen=True)
class First(_OfEnds):
    """The first events, the earliest first."""
