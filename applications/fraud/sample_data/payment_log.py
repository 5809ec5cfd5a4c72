"""Configures a log of payments, and writes it day by day in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.fraud.sample_data.dirt import Chargebacks, Dirt, DirtMaker
from applications.fraud.sample_data.outcomes import Delays, Outcomes, outcomes_of_day
from applications.fraud.sample_data.risk import Observer, RiskModel
from applications.fraud.sample_data.traffic import DAY_MS, Payments, Rates, payments_of_day
from applications.fraud.sample_data.world import (
    COUNTRY_NAMES,
    Devices,
    make_world,
    merchant_table,
    network_table,
)
from applications.sample_files import output_folder
from applications.sample_files.log_writer import (
    day_folder,
    json_lines,
    labels,
    prefixed,
    write_csv,
    write_lines,
    write_parquet,
)
from tabular.metrics.classification import auc, auc_pr, log_loss
from tabular.metrics.scores import ScoreCounts

FORMAT_VERSION = 1
FILES = (
    "payments", "chargebacks", "decisions", "truth", "devices.parquet", "merchants.csv",
    "networks.parquet",
)  # fmt: skip
_HOUR_MS = 3_600_000

Progress = Callable[[int, int], None]


class ConfigError(ValueError):
    """A configuration is invalid; the text is one line that names the option."""


@dataclass(frozen=True)
class PaymentLogConfig:
    """The parameters of a simulation.

    Attributes:
      payments: Number of genuine payments, about; attacks add one in a hundred.
      days: Days with payments.
      chargeback_hours: Longest delay of a chargeback; their log is longer by that time.
      start: First day.
      seed: Equal seeds give equal bytes.
      review_share: Share of payments that analysts look at.
      dirt: Rates of dirt.
      rates: How many attacks there are.
      risk: Contributions to the log-odds of fraud.

    Raises:
      ConfigError: A value is out of range.
    """

    payments: int = 400_000
    days: int = 75
    chargeback_hours: float = 45 * 24.0
    start: str = "2024-03-01"
    seed: int = 7
    review_share: float = 0.01
    dirt: Dirt = field(default_factory=Dirt)
    rates: Rates = field(default_factory=Rates)
    risk: RiskModel = field(default_factory=RiskModel)

    def __post_init__(self) -> None:
        for name, least in (("payments", 1_000), ("days", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}, but it must be {least} or more"
                )
        if not 0 < self.chargeback_hours <= 365 * 24:
            raise ConfigError(
                f"chargeback_hours is {self.chargeback_hours:g}, but it must be above 0, and at "
                "most a year"
            )
        if not 0 <= self.review_share <= 0.5:
            raise ConfigError(
                f"review_share is {self.review_share:g}, but it must be from 0 to 0.5"
            )
        if self.start_ms < 0:
            raise ConfigError(f"start is {self.start}, but the log cannot start before 1970")

    @property
    def start_ms(self) -> int:
        """Start of the first day in epoch milliseconds."""
        try:
            start = datetime.strptime(self.start, "%Y-%m-%d").replace(tzinfo=timezone.utc)
        except ValueError:
            raise ConfigError(
                f"start is {self.start!r}, but it must be a day in UTC like 2024-03-01"
            ) from None
        return int(start.timestamp()) * 1000

    @property
    def delays(self) -> Delays:
        most = round(self.chargeback_hours * _HOUR_MS)
        return Delays(most // 45, most)

    def describe(self) -> dict[str, Any]:
        """Returns everything the output depends on, for the manifest."""
        config = asdict(self)
        config["rates"] = {name: [*np.atleast_1d(v)] for name, v in config["rates"].items()}
        config["rates"] = {n: [float(one) for one in v] for n, v in config["rates"].items()}
        return {"kind": "payment_log", "format_version": FORMAT_VERSION, "config": config}


@dataclass(frozen=True)
class PaymentLogSummary:
    """The contents of a log; `written` is False if it existed already."""

    counts: dict[str, int]
    dirt: dict[str, int]
    best_reachable: dict[str, float | None]
    written: bool


def generate_payment_log(
    config: PaymentLogConfig,
    out: Path,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> PaymentLogSummary:
    """Writes a log of payments (see README.md for its layout), unless `out` already holds it.

    Args:
      config: Parameters of the simulation.
      out: Output folder.
      progress: Function that is called after each day with the finished and all days.
      overwrite: Whether to write into a folder that holds other files.

    Raises:
      OutputError: `out` holds other files, cannot be written to, or the disk is full.
    """
    manifest = output_folder.begin(out, config.describe(), FILES, overwrite=overwrite)
    written = manifest is None
    if manifest is None:
        with output_folder.readable_errors(out):
            contents = _LogWriter(config, out).write(progress)
            manifest = {**config.describe(), **contents, "complete": True}
            output_folder.write_manifest(out, manifest)
    return PaymentLogSummary(
        manifest["counts"], manifest["dirt"], manifest["best_reachable"], written
    )


class _LogWriter:
    """Writes the days in order; holds the world, what an observer remembers, and later outcomes."""

    def __init__(self, config: PaymentLogConfig, out: Path) -> None:
        self._config, self._out = config, out
        cards = max(200, config.payments // config.days)  # a payment a day, on average
        merchants = max(40, round(2 * config.payments**0.4))
        networks = max(56, round(1.5 * config.payments**0.4))
        self._world = make_world(cards, merchants, networks, config.seed)
        self._devices = Devices(cards, config.seed)
        self._observer = Observer(config.risk, cards)
        self._dirt = DirtMaker(config.dirt, config.seed, config.delays.most_ms)
        self._chargebacks: dict[int, list[Chargebacks]] = {}
        self._decisions: dict[int, list[pa.Table]] = {}
        self._scores: list[ScoreCounts] = []
        self._payments = self._disputed = self._next_chargeback = self._next_decision = 0

    def write(self, progress: Progress | None) -> dict[str, Any]:
        """Writes everything except the manifest, and returns the manifest's contents."""
        config, world = self._config, self._world
        write_csv(self._out / "merchants.csv", merchant_table(world))
        write_parquet(self._out / "networks.parquet", network_table(world))
        sizes = np.diff(np.linspace(0, config.payments, config.days + 1).astype(int))
        for day, size in enumerate(sizes):
            self._write_day(day, int(size))
            if progress is not None:
                progress(day + 1, config.days)
        write_parquet(self._out / "devices.parquet", self._devices.table())
        # Every day until the last chargeback has a file, if only an empty one: a missing file would
        # look like one that has not arrived.
        last = config.days + -(-round(config.chargeback_hours) // 24)
        for day in range(max([last, *self._chargebacks]) + 1):
            self._write_outcomes(day)
        merged = ScoreCounts.merge(self._scores)
        both = 0 < merged.positives < merged.examples
        metrics = {"auc": auc, "auc_pr": auc_pr, "log_loss": log_loss}
        return {
            "counts": {
                "payments": self._payments,
                "disputed": self._disputed,
                "chargebacks": self._next_chargeback,
                "decisions": self._next_decision,
                "cards": world.cards,
                "merchants": world.merchants,
                "networks": world.networks,
                "devices": len(self._devices.system),
            },
            "dirt": dict(self._dirt.counts),
            "best_reachable": {
                name: float(metric(merged)) if both else None for name, metric in metrics.items()
            },
        }

    def _write_day(self, day: int, size: int) -> None:
        config = self._config
        start_ms = config.start_ms + day * DAY_MS
        rows = payments_of_day(
            self._world, self._devices, day, start_ms, size, config.rates, config.seed
        )
        log_odds = self._observer.log_odds(rows, self._world)
        outcomes = outcomes_of_day(
            log_odds, rows.time_ms, day, config.seed, config.delays, config.review_share
        )
        first, table = self._payments, payment_table(rows, self._payments)
        lines = self._dirt.payment_lines(table, day)
        write_lines(day_folder(self._out, "payments", start_ms), 0, lines)
        truth = {
            "payment_id": table.column("payment_id"),
            "fraud_probability": outcomes.probability,
        }
        write_parquet(self._out / "truth" / f"part-{day:05d}.parquet", pa.table(truth))
        self._scores.append(ScoreCounts.count(outcomes.disputed, outcomes.probability))
        self._keep(self._dirt.chargebacks(first, rows.time_ms, outcomes.chargeback_ms, day))
        self._keep_decisions(first, outcomes)
        self._payments += len(rows.time_ms)
        self._disputed += int(outcomes.disputed.sum())

    def _keep(self, found: Chargebacks) -> None:
        day = np.maximum((found.time_ms - self._config.start_ms) // DAY_MS, 0)
        for one in np.unique(day).tolist():
            part = Chargebacks(found.payment[day == one], found.time_ms[day == one])
            self._chargebacks.setdefault(one, []).append(part)

    def _keep_decisions(self, first: int, outcomes: Outcomes) -> None:
        number = len(outcomes.reviewed)
        table = pa.table(
            {
                "decision_id": prefixed("r", np.arange(number) + self._next_decision),
                "payment_id": prefixed("p", first + outcomes.reviewed),
                "fraud": outcomes.found_fraud.astype(np.int64),
                "timestamp_ms": outcomes.decision_ms,
            }
        )
        self._next_decision += number
        day = (outcomes.decision_ms - self._config.start_ms) // DAY_MS
        for one in np.unique(day).tolist():
            self._decisions.setdefault(one, []).append(table.filter(pa.array(day == one)))

    def _write_outcomes(self, day: int) -> None:
        start_ms = self._config.start_ms + day * DAY_MS
        none = np.zeros(0, np.int64)
        found = Chargebacks.concat(self._chargebacks.pop(day, [Chargebacks(none, none)]))
        number = len(found.payment)
        table = pa.table(
            {
                "chargeback_id": prefixed("c", np.arange(number) + self._next_chargeback),
                "payment_id": prefixed("p", found.payment),
                "timestamp_ms": found.time_ms,
            }
        )
        self._next_chargeback += number
        write_lines(day_folder(self._out, "chargebacks", start_ms), 0, json_lines(table))
        if day in self._decisions:
            decided = pa.concat_tables(self._decisions.pop(day)).sort_by("timestamp_ms")
            write_lines(day_folder(self._out, "decisions", start_ms), 0, json_lines(decided))


def payment_table(rows: Payments, first: int) -> pa.Table:
    """Returns the columns of the log; ids are numbered from `first`."""
    return pa.table(
        {
            "payment_id": prefixed("p", first + np.arange(len(rows.time_ms))),
            "card": prefixed("k", rows.card),
            "merchant": prefixed("m", rows.merchant),
            "device": prefixed("d", rows.device),
            "network": prefixed("n", rows.network),
            "country": labels(COUNTRY_NAMES, rows.country),
            "amount_cents": rows.amount,
            "timestamp_ms": rows.time_ms,
        }
    )
