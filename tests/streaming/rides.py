"""An application with a regression, served and evaluated on hourly spans: fares of rides."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from base.atomic_files import write_json
from components.pusher.release import Release, write_release
from pipeline.config import PipelineConfig, load_config
from streaming.layout import Layout

FEATURES = """
from tabular.feature_set import FeatureSet, Numeric

features = FeatureSet(
    label="fare", keys=("ride_id",), features=(Numeric("kilometres"),), task="regression"
)


def build_examples(spark, sources, context):
    return sources["rides"].select(*features.columns)
"""
CONFIG = """
name: rides
application: rides_online
data_root: {folder}
schema: {folder}/rides.pbtxt
run_root: {folder}/runs
serving_root: {folder}/served
sources: {{rides: {{format: parquet, path: "*.parquet"}}}}
evaluator:
  {{label: fare, prediction: prediction, metrics: [rmse], thresholds: {{rmse: {{max: 9}}}}}}
streaming:
  folder: {folder}/stream
  watched: {folder}/events
  streams:
    rides:
      id: ride_id
      time: at
      columns: {{ride_id: string, at: bigint, driver: string, fare: double, arm: string,
        version: bigint, prediction: double}}
    tips:
      id: tip_id
      time: at
      columns: {{tip_id: string, ride_id: string, at: bigint}}
      outcome: {{of: rides, by: ride_id, within: 2h}}
  served: {{group: driver, label: fare}}
  online_rule: {{min_events: 300}}
"""


def rides_config(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> PipelineConfig:
    """Writes the application and returns its config, with versions 7 (stable) and 8 (canary)."""
    package = folder / "rides_online"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "application.py").write_text(FEATURES)
    monkeypatch.syspath_prepend(str(folder))
    names = {"ride_id": "BYTES", "fare": "FLOAT", "kilometres": "FLOAT"}
    schema = "".join(f'feature {{ name: "{n}" type: {kind} }}\n' for n, kind in names.items())
    (folder / "rides.pbtxt").write_text(schema)
    (folder / "rides.yaml").write_text(CONFIG.format(folder=folder))
    config = load_config(folder / "rides.yaml", overrides)
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True, exist_ok=True)
    write_release(config.serving_folder, Release(7, canary=8))
    return config


def rides(
    version: int, arm: str, rows: int, seed: int, *, bias: float = 0.0, noise: float = 2.0
) -> pd.DataFrame:
    """Returns served rides; a driver's rides are alike, since their predictions share an error."""
    chance = np.random.default_rng(seed)
    driver = chance.integers(0, max(1, rows // 10), rows)
    fare = 20 + 8 * chance.normal(size=rows)
    of_driver = chance.normal(scale=noise, size=driver.max() + 1)[driver]
    return pd.DataFrame(
        {
            "ride_id": [f"{version}-{seed}-{number}" for number in range(rows)],
            "driver": [f"d{number}" for number in driver],
            "fare": fare,
            "arm": arm,
            "version": version,
            "prediction": fare + bias + of_driver + chance.normal(scale=noise, size=rows),
        }
    )


def close_hour(config: PipelineConfig, hour: int, frames: Iterable[pd.DataFrame]) -> None:
    """Writes a closed hour as ingest would."""
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    span = layout.span("rides", hour)
    span.mkdir(parents=True)
    rows = pd.concat(frames)
    rows.to_parquet(span / "part-0.parquet")
    marker = {"hour": hour, "version": 1, "streams": {"rides": {"rows": len(rows)}}}
    write_json(layout.marker(hour), marker)
