"""A small log with the dirt of real logs, made once per session."""

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

Reports = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def dirty_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a log of 5 hours and 10,000 impressions."""
    out = tmp_path_factory.mktemp("events") / "log"
    config = ClickLogConfig(impressions=10_000, hours=5, seed=5, dirt=Dirt.preset("heavy"))
    generate_click_log(config, out)
    return out


@pytest.fixture
def run(spark: SparkSession) -> Callable[..., Reports]:
    """Returns a function that ingests all present events, and returns the reports."""

    def run(streaming: Streaming, *, finish: bool = False) -> Reports:
        reports: Reports = []
        ingest(spark, streaming, lambda *what: reports.append(what), once=True, finish=finish)
        return reports

    return run
