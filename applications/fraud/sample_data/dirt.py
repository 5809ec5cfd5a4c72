"""Adds the dirt of real logs to clean rows, without changing which clean rows there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.fraud.sample_data.traffic import DAY_MS
from applications.fraud.sample_data.world import (
    CHARGEBACK_DIRT,
    DIRT,
    Indices,
    random_stream,
)
from applications.sample_files.dirt_rates import DirtRates, rate
from applications.sample_files.log_writer import break_lines, json_lines, prefixed

_OTHERS = 10**12  # ids of rows that are not clean begin here


@dataclass(frozen=True)
class Dirt(DirtRates):
    """Rates of each kind of dirt, 0 to 0.2; the defaults are the `default` preset."""

    duplicates: float = rate(0.003, "exact copies of payments")
    null_card: float = rate(0.001, "extra payments without card")
    null_device: float = rate(0.005, "payments whose device is null (in place)")
    impossible_amount: float = rate(0.001, "extra payments of 0 or less, or of more than there is")
    impossible_time: float = rate(0.0005, "extra payments with a time in 1970 or before")
    unknown_merchant: float = rate(0.001, "extra payments to a merchant that merchants.csv lacks")
    broken_lines: float = rate(0.001, "extra lines that are not JSON")
    duplicate_chargebacks: float = rate(0.02, "second chargebacks of one payment, per chargeback")
    late_chargebacks: float = rate(0.02, "chargebacks after their time, per chargeback")
    early_chargebacks: float = rate(0.005, "chargebacks before their payment, per chargeback")
    orphan_chargebacks: float = rate(0.01, "chargebacks of payments never logged, per chargeback")


@dataclass(frozen=True)
class Chargebacks:
    """Chargebacks as numbers, [n] each; `payment` is the number in a payment's id."""

    payment: Indices
    time_ms: Indices

    @classmethod
    def concat(cls, parts: list[Chargebacks]) -> Chargebacks:
        """Returns the chargebacks of all parts in order of time."""
        payment = np.concatenate([part.payment for part in parts])
        time = np.concatenate([part.time_ms for part in parts])
        order = np.argsort(time, kind="stable")
        return cls(payment[order], time[order])


class DirtMaker:
    """Adds dirt to the lines of a day, and counts it.

    Args:
      dirt: Rates of dirt.
      seed: Seed of the log.
      longest_ms: Longest delay of a chargeback that counts.
    """

    def __init__(self, dirt: Dirt, seed: int, longest_ms: int):
        self._dirt, self._seed, self._longest_ms = dirt, seed, longest_ms
        self._next = _OTHERS
        self.counts: Counter[str] = Counter({kind.name: 0 for kind in fields(dirt)})

    def payment_lines(self, clean: pa.Table, day: int) -> pa.BinaryArray:
        """Returns the lines of a day's payments, extra ones beside the payment they came from."""
        rng = random_stream(self._seed, DIRT, day)
        size = clean.num_rows
        clean = self._null_devices(clean, rng)
        lines, places = [json_lines(clean)], [np.arange(size, dtype=np.float64)]
        for extra, place in self._bad_rows(clean, rng):
            lines.append(json_lines(extra))
            places.append(place + 0.5)
        copied = self._pick("duplicates", size, rng)
        lines.append(lines[0].take(pa.array(copied)))
        places.append(copied + 0.25)
        broken = self._pick("broken_lines", size, rng)
        lines.append(break_lines(lines[0].take(pa.array(broken)), rng))
        places.append(broken + 0.75)
        order = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_arrays(lines).take(pa.array(order))

    def chargebacks(self, first: int, time_ms: Indices, at_ms: Indices, day: int) -> Chargebacks:
        """Returns the chargebacks of a day's payments, and dirty ones.

        Args:
          first: Number of the day's first payment.
          time_ms: Times of the payments, [payments].
          at_ms: Times of their chargebacks, 0 without one, [payments].
          day: Number of the day in the log.
        """
        rng = random_stream(self._seed, CHARGEBACK_DIRT, day)
        has = np.flatnonzero(at_ms > 0)
        others = np.flatnonzero(at_ms == 0)
        number = len(has)
        again = has[self._pick("duplicate_chargebacks", number, rng)]
        late = self._some("late_chargebacks", others, number, rng)
        early = self._some("early_chargebacks", others, number, rng)
        orphans = self._some("orphan_chargebacks", others, number, rng)
        parts = [
            Chargebacks(first + has, at_ms[has]),
            Chargebacks(first + again, at_ms[again] + rng.integers(1, DAY_MS, len(again))),
            Chargebacks(
                first + late,
                time_ms[late] + self._longest_ms + rng.integers(1, 10 * DAY_MS, len(late)),
            ),
            Chargebacks(first + early, time_ms[early] - rng.integers(1, DAY_MS, len(early))),
            Chargebacks(self._ids(len(orphans)), time_ms[orphans] + rng.integers(DAY_MS)),
        ]
        return Chargebacks.concat(parts)

    def _null_devices(self, clean: pa.Table, rng: np.random.Generator) -> pa.Table:
        chosen = self._pick("null_device", clean.num_rows, rng)
        mask = np.zeros(clean.num_rows, bool)
        mask[chosen] = True
        column = clean.column("device").combine_chunks()
        null = pa.array([None] * len(column), column.type)
        values = pa.compute.if_else(pa.array(mask), null, column)
        return _replace(clean, "device", values)

    def _bad_rows(
        self, clean: pa.Table, rng: np.random.Generator
    ) -> list[tuple[pa.Table, Indices]]:
        found = []
        for kind in ("null_card", "impossible_amount", "impossible_time", "unknown_merchant"):
            chosen = self._pick(kind, clean.num_rows, rng)
            extra = clean.take(pa.array(chosen))
            extra = _replace(extra, "payment_id", prefixed("p", self._ids(len(chosen))))
            if kind == "null_card":
                extra = _replace(extra, "card", pa.array([None] * len(chosen), pa.string()))
            elif kind == "impossible_amount":
                wrong = rng.choice(np.array([0, -1, -500, 10**13]), len(chosen))
                extra = _replace(extra, "amount_cents", pa.array(wrong))
            elif kind == "impossible_time":
                wrong = rng.integers(-(10**9), 10**9, len(chosen))
                extra = _replace(extra, "timestamp_ms", pa.array(wrong))
            else:
                extra = _replace(extra, "merchant", prefixed("x", chosen))
            found.append((extra, chosen))
        return found

    def _pick(self, kind: str, size: int, rng: np.random.Generator) -> Indices:
        """Draws places of `size` rows at the rate of a kind, and counts them."""
        chosen = np.flatnonzero(rng.random(size) < getattr(self._dirt, kind))
        self.counts[kind] += len(chosen)
        return chosen

    def _some(self, kind: str, of: Indices, number: int, rng: np.random.Generator) -> Indices:
        chosen = self._pick(kind, number, rng)
        return np.asarray(rng.choice(of, len(chosen)) if len(of) else of[:0])

    def _ids(self, number: int) -> Indices:
        self._next += number
        return np.arange(self._next - number, self._next)


def _replace(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)
