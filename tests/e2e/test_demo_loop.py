"""A short day of the loop, all of its processes: models are promoted, a bad one rolled back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from metadata.reader import MetadataReader
from tests.listening import beyond_loopback, listening_sockets

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.timeout(2400)
def test_a_day_promotes_good_models_and_rolls_back_a_bad_one(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "applications.ctr.demo_loop",
        "--hours",
        "13",  # the rule may take three hours for each of two canaries
        "--first-hours",
        "2",
    ]
    command += ["--bad-hour", "3", "--impressions", "6000", "--folder", str(tmp_path / "loop")]
    with listening_sockets() as listening:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2300, check=False)
    assert beyond_loopback(listening) == set()
    assert done.returncode == 0, done.stdout + done.stderr
    loop = json.loads((tmp_path / "loop" / "loop.json").read_text())
    decisions = [text.partition(":")[0] for text in loop["decisions"].values()]
    assert "promote" in decisions
    assert "rollback" in decisions
    assert decisions.index("promote") < decisions.index("rollback")
    served = [hour for hour in loop["hours"] if "loop" in hour and "frozen" in hour]
    assert len(served) >= 5
    for hour in served:
        assert 0 < hour["loop"]["ctr"] < 0.5
        assert 0 < hour["frozen"]["ctr"] < 0.5
    page = (tmp_path / "loop" / "online.html").read_text()
    assert "rolled back" in page or "rollback" in page
    assert "<svg" in (tmp_path / "loop" / "loop.svg").read_text()
    store = MetadataReader.sqlite(tmp_path / "loop" / "runs" / "ctr-loop" / "metadata.sqlite")
    versions = {one.properties["version"] for one in store.artifacts_of_type("OnlineMetrics")}
    assert len(versions) >= 3  # the first, a good one and the bad one
    assert store.artifacts_of_type("FeatureDrift")
    # What begins with the bad model, before anybody has noticed, may be refused.
    blessed = [run["blessed"] for run in loop["runs"].values()]
    assert blessed[0]
    assert sum(blessed) > len(blessed) / 2
