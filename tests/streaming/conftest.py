"""A small log with the dirt that real logs have, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from applications.ctr.sample_data.click_log import ClickLogConfig, generate_click_log
from applications.ctr.sample_data.dirt import Dirt
from pipeline.streaming_sections import Streaming
from streaming.ingest import ingest

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def dirty_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 hours, 10,000 impressions."""
    out = tmp_path_factory.mktemp("events") / "log"
    config = ClickLogConfig(impressions=10_000, hours=5, seed=5, dirt=Dirt.preset("heavy"))
    generate_click_log(config, out)
    return out


@pytest.fixture
def run(spark: SparkSession) -> Callable[..., Told]:
    """Reads what is there, and returns what was told of it."""

    def run(streaming: Streaming, *, finish: bool = False) -> Told:
        told: Told = []
        ingest(spark, streaming, lambda *what: told.append(what), once=True, finish=finish)
        return told

    return run
