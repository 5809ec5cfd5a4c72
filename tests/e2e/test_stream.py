"""`streaming run`, as a person starts it: hours to models, through a failure and a crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from applications.ctr.sample_data.click_log import ClickLogConfig, generate_click_log
from metadata.reader import MetadataReader
from pipeline.config import PipelineConfig, load_config
from streaming.commands import main
from streaming.ingest import ingest
from streaming.layout import Layout, hour_name, hour_start
from streaming.operation.due import DueRun
from streaming.operation.operate import Operation
from streaming.operation.records import COMPLETE, FAILED, RUNNING, HourRecord, HourRecords
from streaming.operation.spans_done import complete_spans
from streaming.tables import HourTables

pytestmark = pytest.mark.e2e

CONFIG = "applications/ctr/configs/ctr-stream.yaml"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """Config and overrides: three hours of events, and no run yet."""
    root = tmp_path_factory.mktemp("stream")
    generate_click_log(ClickLogConfig(impressions=6_000, hours=3, seed=4), root / "log")
    places = [f"{key}={root / 'log'}" for key in ("data_root", "streaming.folder")]
    places += [f"streaming.watched={root / 'log'}", f"run_root={root / 'runs'}"]
    places += [f"serving_root={root / 'served'}", "truth=null", "sample_data=null"]
    small = ["trainer.parameters={model: wide_deep, epochs: 1, batch_size: 256}"]
    small += ["evaluator={label: clicked, prediction: probability, min_positives: 5}"]
    small += ["evaluator.thresholds.auc={min: 0.5, max_worse: 0.5}"]
    small += ["evaluator.thresholds.calibration={min: 0.2, max: 5}"]
    small += ["serving.canary=null", "incremental.window=1"]
    return CONFIG, [*places, *small]


@pytest.fixture(scope="module")
def config(given: tuple[str, list[str]]) -> PipelineConfig:
    return load_config(*given)


@pytest.fixture(scope="module")
def hours(spark: SparkSession, config: PipelineConfig) -> list[int]:
    """Those that were closed, with impressions; the second one is damaged afterwards."""
    assert config.streaming is not None
    ingest(spark, config.streaming, lambda *_: None, finish=True, tables=HourTables(config))
    layout = Layout(config.streaming.folder)
    found = [
        h for h, marker in layout.closed_hours().items() if marker["streams"]["impressions"]["rows"]
    ]
    (file,) = layout.span("impressions", found[1]).iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    return found


def flags(given: tuple[str, list[str]]) -> list[str]:
    path, overrides = given
    return ["--config", path, *[part for one in overrides for part in ("--set", one)]]


def start(given: tuple[str, list[str]]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streaming", "run", "--once", *flags(given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(there: Callable[[], Any], process: subprocess.Popen[str], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.2)


def test_hours_become_models_through_a_failure_and_a_crash(
    given: tuple[str, list[str]], config: PipelineConfig, hours: list[int]
) -> None:
    assert config.streaming is not None
    records = HourRecords(config.streaming.folder)
    assert len(hours) == 3

    first = start(given)
    until(lambda: records.read().get(hours[2]), first, 300)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    found = records.read()
    assert [found[hour].state for hour in hours] == [COMPLETE, FAILED, RUNNING]
    assert found[hours[0]].summary["blessed"]

    second = start(given)
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert complete_spans(config) == {hours[0], hours[2]}
    assert "waiting for the next hour to close" in output

    runs = sorted((config.run_folder / "runs").iterdir())
    idle = start(given)
    output, _ = idle.communicate(timeout=60)
    assert idle.returncode == 0, output
    assert sorted((config.run_folder / "runs").iterdir()) == runs  # nothing is done twice

    summary = runs[-1] / "run_summary.json"  # of the one that was killed there is none
    last = json.loads(summary.read_text())
    states = {c["id"]: c["state"] for c in last["components"]}
    assert last["span"] == hours[2]
    assert 0 < last["rows"]["read"] < 4_000  # one hour, not the window
    assert states["Transform"] in ("complete", "cached")  # cached: the killed run got so far
    versions = sorted(int(v.name) for v in config.serving_folder.iterdir() if v.name.isdigit())
    assert len(versions) == 2


def test_status_tells_what_was_done_and_why_something_failed(
    given: tuple[str, list[str]], config: PipelineConfig, hours: list[int]
) -> None:
    shown = CliRunner().invoke(main, ["status", *flags(given), "--json"])
    assert shown.exit_code == 1, shown.output  # the damaged span is a problem
    rows = {row["hour"]: row for row in json.loads(shown.output)["hours"]}
    assert rows[hours[1]]["run"]["state"] == FAILED
    assert "parquet" in rows[hours[1]]["run"]["error"].lower()
    assert not any(row["waits"] for row in rows.values())
    text = CliRunner().invoke(main, ["status", *flags(given)], env={"COLUMNS": "250"}).output
    assert "failed: SparkExampleGen" in text
    page = CliRunner().invoke(main, ["status", *flags(given), "--html"])
    assert page.exit_code == 1, page.output
    assert config.streaming is not None
    written = (config.streaming.folder / "status.html").read_text()
    assert "failed: SparkExampleGen" in written
    assert f"{hour_start(hours[0]):%Y-%m-%d %H}h" in written


def test_drift_between_the_hours_is_told_and_recorded(
    given: tuple[str, list[str]], config: PipelineConfig, hours: list[int]
) -> None:
    shown = CliRunner().invoke(main, ["evaluate", *flags(given)])
    assert shown.exit_code == 0, shown.output
    for hour in (hours[0], hours[2]):
        said = [line for line in shown.output.splitlines() if hour_name(hour) in line]
        assert "drift" in said[0]
    assert f"{hour_name(hours[1])} is left out" in shown.output  # its file is damaged
    found = MetadataReader.sqlite(config.metadata_path).artifacts_of_type("FeatureDrift")
    by_hour = {drift.properties["hour"]: drift.properties for drift in found}
    assert by_hour[hour_name(hours[0])]["features"] == 0  # there was none before, and nobody served
    assert by_hour[hour_name(hours[2])]["features"] > 30
    assert config.streaming is not None
    assert hour_name(hours[2]) in (config.streaming.folder / "online.html").read_text()
    again = CliRunner().invoke(main, ["evaluate", *flags(given)])
    assert hour_name(hours[2]) not in again.output


def test_a_person_has_it_tried_again(
    given: tuple[str, list[str]], config: PipelineConfig, hours: list[int]
) -> None:
    path, overrides = given
    operation = Operation(config, (path, overrides), lambda *_: None, threading.Event())
    assert operation.due() is None
    wrong = CliRunner().invoke(main, ["retry", *flags(given), "--hour", "2024-02-29T01"])
    assert wrong.exit_code == 1
    assert "Received: 2024-02-29 01h" in wrong.output
    name = f"{hour_start(hours[1]):%Y-%m-%dT%H}"
    again = CliRunner().invoke(main, ["retry", *flags(given), "--hour", name])
    assert again.exit_code == 0, again.output
    assert operation.due() == DueRun(hours[1], hours[2])


def test_what_an_hour_is_called_is_no_markup(config: PipelineConfig, hours: list[int]) -> None:
    """Errors are others' texts: they stand in the page as they are, and do nothing there."""
    from streaming.operation.overview import overview, write_page

    assert config.streaming is not None
    folder = config.streaming.folder
    bad = HourRecord(hours[1], hours[1], FAILED, "2024-01-01T00", error="<script>alert(1)</script>")
    HourRecords(folder).write(bad)
    page = write_page(folder, overview(config, set()), "a & b").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
