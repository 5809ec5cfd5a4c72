"""A clean and a dirty log with the same seed, made once per session, and readers of their files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from applications.ctr.sample_data.click_log import (
    ClickLogConfig,
    ClickLogSummary,
    generate_click_log,
)
from applications.ctr.sample_data.dirt import Dirt

SIZE: dict[str, Any] = {"impressions": 60_000, "hours": 6, "seed": 3}


@dataclass(frozen=True)
class Log:
    out: Path
    summary: ClickLogSummary
    truth: pd.DataFrame
    impressions: pd.DataFrame
    clicks: pd.DataFrame
    broken: dict[str, int]

    @property
    def clean(self) -> pd.DataFrame:
        """Distinct clean impressions with the truth, the label and the item's columns."""
        rows = self.impressions.drop_duplicates("impression_id")
        rows = rows.merge(self.truth, on="impression_id", validate="1:1")
        rows["label"] = rows["impression_id"].isin(set(attributed(self)["impression_id"]))
        return rows.merge(pd.read_csv(self.out / "items.csv"), on="item_id")


def read_lines(folder: Path) -> tuple[pd.DataFrame, int]:
    records, broken = [], 0
    for path in sorted(folder.rglob("part-*.json.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            try:
                records.append({**json.loads(line), "hour": "/".join(path.parts[-3:-1])})
            except ValueError:
                broken += 1
    return pd.DataFrame(records), broken


def attributed(log: Log) -> pd.DataFrame:
    """Returns the clicks within 30 minutes after their impression."""
    shown = log.impressions.drop_duplicates("impression_id").set_index("impression_id")
    clicks = log.clicks[log.clicks["impression_id"].isin(shown.index)]
    delay = clicks["timestamp_ms"] - clicks["impression_id"].map(shown["timestamp_ms"])
    return clicks[delay.between(0, 30 * 60_000)]


def read_log(out: Path, summary: ClickLogSummary) -> Log:
    impressions, broken_impressions = read_lines(out / "impressions")
    clicks, broken_clicks = read_lines(out / "clicks")
    truth = pd.concat([pd.read_parquet(path) for path in sorted((out / "truth").iterdir())])
    broken = {"impressions": broken_impressions, "clicks": broken_clicks}
    return Log(out, summary, truth, impressions, clicks, broken)


@pytest.fixture(scope="session")
def make_log(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Log]:
    def make(**options: Any) -> Log:
        out = tmp_path_factory.mktemp("log") / "out"
        return read_log(out, generate_click_log(ClickLogConfig(**{**SIZE, **options}), out))

    return make


@pytest.fixture(scope="session")
def clean_log(make_log: Callable[..., Log]) -> Log:
    return make_log(dirt=Dirt.preset("none"))


@pytest.fixture(scope="session")
def dirty_log(make_log: Callable[..., Log]) -> Log:
    return make_log(dirt=Dirt.preset("heavy"))
