"""The simulated log of payments: its accounts, its truth, and its dirt."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from applications.fraud.sample_data.dirt import Dirt
from applications.fraud.sample_data.payment_log import (
    ConfigError,
    PaymentLogConfig,
    PaymentLogSummary,
    generate_payment_log,
)

pytestmark = pytest.mark.unit

DAY_MS = 24 * 3_600_000
CONFIG = PaymentLogConfig(payments=40_000, days=12, seed=3, dirt=Dirt.preset("heavy"))


@dataclasses.dataclass(frozen=True, eq=False)
class Log:
    out: Path
    summary: PaymentLogSummary

    @functools.lru_cache  # noqa: B019 - a module's log, read by each test
    def read(self, name: str) -> tuple[pd.DataFrame, int]:
        """Returns the records of a log, and the number of broken lines."""
        records, broken = [], 0
        for path in sorted((self.out / name).rglob("*.json.gz")):
            for line in gzip.decompress(path.read_bytes()).splitlines():
                try:
                    records.append({**json.loads(line), "day": path.parent.name})
                except ValueError:
                    broken += 1
        return pd.DataFrame(records), broken

    def clean(self) -> pd.DataFrame:
        """Returns each clean payment once, with its truth."""
        truth = pd.concat(map(pd.read_parquet, sorted((self.out / "truth").iterdir())))
        found, _ = self.read("payments")
        return found.drop_duplicates("payment_id").merge(truth, on="payment_id", validate="1:1")

    @functools.lru_cache  # noqa: B019
    def labelled(self) -> pd.DataFrame:
        """Returns the clean payments with the first delay of a chargeback that counts."""
        rows, (back, _) = self.clean(), self.read("chargebacks")
        pairs = back.merge(rows[["payment_id", "timestamp_ms"]], on="payment_id")
        pairs["delay"] = pairs["timestamp_ms_x"] - pairs["timestamp_ms_y"]
        in_time = pairs[pairs["delay"].between(0, CONFIG.delays.most_ms)]
        rows["delay"] = rows["payment_id"].map(in_time.groupby("payment_id")["delay"].min())
        return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    out = tmp_path_factory.mktemp("payments") / "log"
    return Log(out, generate_payment_log(CONFIG, out))


def test_every_line_is_counted(log: Log) -> None:
    found, broken = log.read("payments")
    counts, dirt = log.summary.counts, log.summary.dirt
    extra = ("null_card", "impossible_amount", "impossible_time", "unknown_merchant", "duplicates")
    assert all(dirt[name] > 0 for name in extra)
    assert len(found) == counts["payments"] + sum(dirt[name] for name in extra)
    assert broken == dirt["broken_lines"] > 0
    assert len(log.clean()) == counts["payments"]
    assert found["device"].isna().sum() >= dirt["null_device"] > 0
    assert len(log.read("chargebacks")[0]) == counts["chargebacks"]
    assert len(log.read("decisions")[0]) == counts["decisions"]


def test_labels_are_drawn_with_the_true_probabilities(log: Log) -> None:
    rows = log.labelled()
    fraud = rows["delay"].notna()
    assert fraud.sum() == log.summary.counts["disputed"]
    assert 0.001 < fraud.mean() < 0.006
    expected = rows["fraud_probability"]
    spread = np.sqrt((expected * (1 - expected)).sum())
    assert abs(fraud.sum() - expected.sum()) < 4 * spread
    likely = expected > 0.3
    assert fraud[likely].mean() == pytest.approx(expected[likely].mean(), abs=0.12)
    best = log.summary.best_reachable
    assert best["auc_pr"] == pytest.approx(metrics.average_precision_score(fraud, expected))
    assert best["auc"] == pytest.approx(metrics.roc_auc_score(fraud, expected))


def test_chargebacks_come_within_their_time_and_every_day_has_a_file(log: Log) -> None:
    delay = log.labelled()["delay"].dropna()
    assert delay.between(DAY_MS, 45 * DAY_MS).all()
    assert delay.median() > 7 * DAY_MS
    days = sorted(path.name for path in (log.out / "chargebacks").iterdir())
    expected = pd.date_range("2024-03-01", periods=len(days)).strftime("%Y-%m-%d")
    assert days == list(expected)
    assert len(days) >= CONFIG.days + 45


def test_thieves_share_devices_and_networks(log: Log) -> None:
    rows = log.labelled()
    fraud = rows["delay"].notna()
    cards_of_device = rows.groupby("device")["card"].nunique()
    assert (cards_of_device > 3).sum() > 3
    shared = rows["device"].map(cards_of_device) > 3
    assert fraud[shared].mean() > 50 * fraud[~shared].mean()
    kinds = pd.read_parquet(log.out / "networks.parquet").set_index("network")
    bad = rows["network"].map(kinds["reputation"]) > 0.4
    assert fraud[bad].mean() > 10 * fraud[~bad].mean()


def test_analysts_look_at_what_is_suspicious_and_are_mostly_right(log: Log) -> None:
    found, _ = log.read("decisions")
    rows = log.labelled().set_index("payment_id")
    looked_at = rows.loc[found["payment_id"]]
    after = found["timestamp_ms"].to_numpy() - looked_at["timestamp_ms"].to_numpy()
    assert ((after > 0) & (after < DAY_MS)).all()
    assert not found["payment_id"].duplicated().any()
    assert looked_at["fraud_probability"].mean() > 10 * rows["fraud_probability"].mean()
    disputed = looked_at["delay"].notna().to_numpy()
    assert found["fraud"].to_numpy()[disputed].mean() > 0.85


def test_the_same_seed_gives_the_same_bytes_and_dirt_keeps_the_clean_rows(
    log: Log, tmp_path: Path
) -> None:
    small = dataclasses.replace(CONFIG, payments=3_000, days=2)
    first = generate_payment_log(small, tmp_path / "a")
    generate_payment_log(small, tmp_path / "b")
    assert not generate_payment_log(small, tmp_path / "a").written
    assert first.written
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    clean = dataclasses.replace(small, dirt=Dirt.preset("none"))
    generate_payment_log(clean, tmp_path / "c")
    columns = ["payment_id", "card", "merchant", "amount_cents", "timestamp_ms"]
    dirty = Log(tmp_path / "a", first).clean()[columns]
    expected = Log(tmp_path / "c", first).clean()[columns]
    pd.testing.assert_frame_equal(dirty, expected)


def _digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"payments": 10}, "payments is 10, but it must be 1000 or more"),
        ({"days": 0}, "days is 0"),
        ({"chargeback_hours": 0}, "chargeback_hours is 0"),
        ({"review_share": 0.9}, "review_share is 0.9"),
        ({"start": "yesterday"}, "start is 'yesterday'"),
        ({"start": "1960-01-01"}, "cannot start before 1970"),
    ],
)
def test_an_impossible_option_is_named(changes: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        PaymentLogConfig(**changes)
