"""A small log with the dirt that real logs have, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sample_data.click_log import ClickLogConfig, generate_click_log
from sample_data.dirt import Dirt


@pytest.fixture(scope="session")
def dirty_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 hours, 10,000 impressions."""
    out = tmp_path_factory.mktemp("events") / "log"
    config = ClickLogConfig(impressions=10_000, hours=5, seed=5, dirt=Dirt.preset("heavy"))
    generate_click_log(config, out)
    return out
