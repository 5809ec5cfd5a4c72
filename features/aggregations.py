"""Aggregations of past events: counts, sums, distinct values, the last events ...

Each aggregation names the parts (parts.py) that it is made from, its columns, and how a column
follows from the parts' states: in Spark, and in arrays for serving.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

from base.durations import HOUR_MS
from base.section import ConfigError
from features.parts import MS, Ends, Events, Moments, Number, Part, Sketch
from features.window_states import WindowStates

# Values of many entities and windows; objects where a value can be None or a list.
Values = NDArray[Any]


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
    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        """Returns the same values as arrays, from states of one shape."""

    def empty_values(self) -> tuple[Any, ...]:
        """Returns the values of an entity without a past."""
        states = [WindowStates.without_events(part) for part in self.parts("", None)]
        return tuple(found.tolist()[0] for found in self.values(states, 0))


def _or_zero(states: WindowStates) -> Values:
    return np.where(states.known, states.values, 0.0)


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

    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        return (_or_zero(states[0]).astype(np.int64),)


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

    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        known = states[0].known
        with np.errstate(divide="ignore", invalid="ignore"):  # where no event counts
            found = self._values(*(state.values for state in states))
        if self.empty is not None:
            return (np.where(known, found, float(self.empty)),)
        objects = found.astype(object)
        objects[~known] = None
        return (objects,)

    def _column(self, *states: Column) -> Column:
        return states[0]

    def _values(self, *states: Values) -> Values:
        return states[0]


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

    def _values(self, *states: Values) -> Values:
        return states[0] / states[1]


@dataclasses.dataclass(frozen=True)
class Variance(_OfNumbers):
    """The population variance of a column; 0 for a single value."""

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return (Moments(stream, where, (self.column,)),)

    def _column(self, *states: Column) -> Column:
        return states[0]["squares"] / states[0]["count"]

    def _values(self, *states: Values) -> Values:
        count, squares = states[0][..., 0], states[0][..., 2]
        found: Values = squares / count
        return found


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

    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        return (np.rint(_or_zero(states[0])).astype(np.int64),)


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

    def __post_init__(self) -> None:
        if not (math.isfinite(self.prior) and 0 < self.strength < math.inf):
            raise ConfigError(
                "a rate needs a finite prior and a finite strength above 0: without events it is "
                f"the prior. Received: prior={self.prior}, strength={self.strength}"
            )

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def parts(self, stream: str, where: str | None) -> tuple[Part, ...]:
        return Events(stream, where, ()), Events(self.of, self.where, ())

    def columns(self, states: Sequence[Column], time_ms: Column) -> tuple[Column, ...]:
        events, others = (F.coalesce(state, F.lit(0)) for state in states)
        weight = F.lit(float(self.strength))
        return ((events + weight * F.lit(float(self.prior))) / (others + weight),)

    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        events, others = map(_or_zero, states)
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

    def values(self, states: Sequence[WindowStates], time_ms: int) -> tuple[Values, ...]:
        (state,) = states
        found = tuple(np.empty(state.known.shape, object) for _ in self.names())
        for place in np.ndindex(state.known.shape):
            fields = self._fields(state.values[place] if state.known[place] else [], time_ms)
            for values, field in zip(found, fields, strict=True):
                values[place] = field
        return found

    def _fields(self, entries: Sequence[Any], time_ms: int) -> list[Any]:
        fields = [[entry[place + 1] for entry in entries] for place in range(len(self._read()))]
        if self.hours:
            fields.append([(time_ms - entry[0]) / HOUR_MS for entry in entries])
        if self.length is None:
            return [field[0] if field else None for field in fields]
        return fields


@dataclasses.dataclass(frozen=True)
class Last(_OfEnds):
    """The last events, the latest first."""


@dataclasses.dataclass(frozen=True)
class First(_OfEnds):
    """The first events, the earliest first."""
