"""Records of hours whose runs fail immediately."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from base.atomic_files import write_json
from base.durations import HOUR_MS
from base.errors import ComponentError
from pipeline.config import PipelineConfig, load_config
from streaming.layout import Layout
from streaming.operation.due import DueRun, ready_hours
from streaming.operation.operate import Operation
from streaming.operation.records import (
    COMPLETE,
    FAILED,
    RETRY,
    HourRecord,
    HourRecords,
    failures_in_a_row,
)
from streaming.operation.spans_done import complete_spans

pytestmark = pytest.mark.component


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a config with hours 3 to 6 closed."""
    places = [f"{key}={tmp_path}" for key in ("streaming.folder", "streaming.watched")]
    config = load_config(
        "applications/ctr/configs/ctr-stream.yaml", [*places, f"run_root={tmp_path / 'runs'}"]
    )
    for hour in (3, 4, 5, 6):
        close(config, hour)
    return config


def close(config: PipelineConfig, hour: int, version: int = 1) -> None:
    assert config.streaming is not None
    marker = {
        "hour": hour,
        "version": version,
        "streams": {"impressions": {"rows": 9}},
        "closed_at": "x",
    }
    layout = Layout(config.streaming.folder)
    write_json(layout.marker(hour, version), marker)
    complete = {"complete_ms": (hour + 1) * HOUR_MS + 30 * 60_000, "spans": []}
    write_json(layout.index("clicks"), complete)


def operation(config: PipelineConfig, told: list[tuple[str, Any]]) -> Operation:
    """Returns an operation whose runs fail because they find no config."""
    return Operation(
        config, ("nowhere.yaml", []), lambda *what: told.append(what), threading.Event(), 2
    )


def states(config: PipelineConfig) -> dict[int, str]:
    assert config.streaming is not None
    return {h: r.state for h, r in HourRecords(config.streaming.folder).read().items()}


def test_after_failures_in_a_row_it_waits_for_a_retry(config: PipelineConfig) -> None:
    told: list[tuple[str, Any]] = []
    operation(config, told).run(once=True)
    assert states(config) == {6: FAILED, 5: FAILED}  # a window first, then the rest of it
    assert told[-1] == ("person", 2)
    assert config.streaming is not None
    error = HourRecords(config.streaming.folder).read()[6].error
    assert error == "Error: there is no config nowhere.yaml; see applications/*/configs/"


def test_a_retry_that_fails_again_is_a_failure_of_its_hour(config: PipelineConfig) -> None:
    assert config.streaming is not None
    records = HourRecords(config.streaming.folder)
    records.write(HourRecord(3, 3, RETRY, "2024-01-01T00"))
    done = HourRecord(6, 6, COMPLETE, "2024-01-01T01")
    records.write(done)
    operation(config, []).run_one(DueRun(3, 6))
    found = records.read()
    assert found[6] == done  # unchanged
    assert found[3].state == FAILED
    assert "nowhere.yaml" in str(found[3].error)
    assert failures_in_a_row(found) == 1


def test_an_hour_replayed_during_its_run_is_read_again(config: PipelineConfig) -> None:
    assert config.streaming is not None
    records = HourRecords(config.streaming.folder)

    def replays(what: str, content: Any) -> None:
        if what == "run":
            close(config, 4, version=2)

    running = Operation(config, ("nowhere.yaml", []), replays, threading.Event())
    running.run_one(DueRun(3, 6))
    assert records.read()[4].state == RETRY


def test_an_hour_that_is_to_be_retried_during_its_run_is_read_again(config: PipelineConfig) -> None:
    """Late outcomes have changed its labels, but it has no new version."""
    assert config.streaming is not None
    records = HourRecords(config.streaming.folder)
    records.write(HourRecord(5, 5, RETRY, "2024-01-01T00"))

    def asks(what: str, content: Any) -> None:
        if what == "run":
            for hour in (4, 6):
                records.request_retry(hour)

    running = Operation(config, ("nowhere.yaml", []), asks, threading.Event())
    running.run_one(DueRun(3, 6))
    assert states(config) == {4: RETRY, 5: FAILED, 6: RETRY}


def test_no_run_is_due_while_the_store_cannot_be_read(config: PipelineConfig) -> None:
    running = operation(config, [])
    assert running.due() is not None
    config.metadata_path.parent.mkdir(parents=True, exist_ok=True)
    sqlite3.connect(config.metadata_path).close()
    config.metadata_path.write_bytes(b"no database " * 1000)
    with pytest.raises(ComponentError):
        complete_spans(config)
    assert running.due() is None


def test_it_sees_an_hour_that_closes_while_it_waits(config: PipelineConfig) -> None:
    told: list[tuple[str, Any]] = []
    waits = threading.Event()

    def report(what: str, content: Any) -> None:
        told.append((what, content))
        if what == "hour":
            waits.set()

    assert config.streaming is not None
    records = HourRecords(config.streaming.folder)
    records.write(HourRecord(3, 6, FAILED, "2024-01-01T00"))
    for hour in (4, 5, 6):
        records.write(HourRecord(hour, hour, COMPLETE, "2024-01-01T01"))
    stopping = threading.Event()
    running = Operation(config, ("nowhere.yaml", []), report, stopping, 9)
    running.finished = {3, 4, 5, 6}
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        assert waits.wait(60)
        close(config, 7)
        for _ in range(300):
            if records.read().get(7, HourRecord(7, 7, "", "")).state == FAILED:
                break
            stopping.wait(0.1)
        assert records.read()[7].state == FAILED  # there is no config
    finally:
        stopping.set()
        thread.join()


def test_an_hour_is_run_when_its_labels_are_complete(config: PipelineConfig) -> None:
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)

    def ready(minutes: float) -> set[int]:
        write_json(layout.index("clicks"), {"complete_ms": minutes * 60_000, "spans": []})
        return ready_hours(layout, config)

    assert ready(7 * 60 + 30) == {3, 4, 5, 6}
    assert ready(7 * 60 + 29) == {3, 4, 5}
    assert ready(3 * 60) == set()
    layout.index("clicks").unlink()
    assert ready_hours(layout, config) == set()
    source = config.sources["clicks"]
    assert source.outcome is not None
    later = dataclasses.replace(source.outcome, within="45d", may_be_open="44d")
    config.sources["clicks"] = dataclasses.replace(source, outcome=later)
    assert ready((6 + 24) * 60) == {3, 4, 5}
