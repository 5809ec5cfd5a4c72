"""The hours that the next run reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from streaming.operation.due import DueRun, next_run, overtaken, waiting
from streaming.operation.records import (
    COMPLETE,
    FAILED,
    RETRY,
    RUNNING,
    HourRecord,
    HourRecords,
    failures_in_a_row,
)

pytestmark = pytest.mark.unit


def records(**states: str) -> dict[int, HourRecord]:
    """Returns records, started in this order; h5="failed" is the record of hour 5."""
    return {
        int(name[1:]): HourRecord(int(name[1:]), int(name[1:]), state, f"2024-01-01T{number:02d}")
        for number, (name, state) in enumerate(states.items())
    }


def test_the_first_run_reads_a_window() -> None:
    assert next_run([5, 6, 7, 8], [], {}, 3) == DueRun(5, 7)
    assert next_run([5, 6], [], {}, 3) == DueRun(5, 6)
    assert next_run([], [], {}, 3) is None


def test_later_runs_read_one_hour_each() -> None:
    closed = [5, 6, 7, 8, 10]
    assert next_run(closed, [7], {}, 3) == DueRun(8, 8)
    assert waiting(closed, [7], {}) == [8, 10]  # hour 9 had no events
    assert next_run(closed, [7, 8], {}, 3) == DueRun(10, 10)
    assert next_run(closed, [7, 8, 10], {}, 3) is None


def test_a_failed_hour_does_not_stop_the_next_one() -> None:
    assert next_run([5, 6, 7], [5], records(h6=FAILED), 3) == DueRun(7, 7)


def test_an_interrupted_run_is_repeated() -> None:
    assert next_run([5, 6, 7], [5], records(h6=RUNNING), 3) == DueRun(6, 6)


def test_a_retried_hour_is_read_with_all_later_hours() -> None:
    assert next_run([5, 6, 7, 8], [5, 7], records(h6=RETRY), 3) == DueRun(6, 8)
    assert next_run([5, 6, 7], [5, 7], records(h6=RETRY), 3) == DueRun(6, 7)
    assert next_run([5, 6, 7], [5, 6], records(h7=RETRY), 3) == DueRun(7, 7)
    assert DueRun(6, 8).window == 3


def test_a_failed_first_run_is_followed_by_another_window() -> None:
    assert next_run([5, 6, 7, 8], [], records(h6=FAILED), 2) == DueRun(5, 7)
    assert next_run([5, 6], [], records(h6=RETRY), 2) == DueRun(5, 5)
    assert next_run([5, 6], [5], records(h6=RETRY), 2) == DueRun(6, 6)


def test_a_replayed_hour_is_read_again(tmp_path: Path) -> None:
    there = HourRecords(tmp_path)
    there.request_retry(5)  # no run has reached it
    assert there.read() == {}
    there.write(HourRecord(7, 4, COMPLETE, "2024-01-01T00"))
    there.request_retry(5)  # the run of hour 7 has read it
    there.request_retry(9)  # no run has
    assert {hour: r.state for hour, r in there.read().items()} == {5: RETRY, 7: COMPLETE}
    assert next_run([4, 5, 6, 7], [7], there.read(), 3) == DueRun(5, 7)


def test_an_hour_that_closed_after_later_ones_had_run_is_named() -> None:
    """Nobody would learn from it, and nobody would know."""
    there = {
        7: HourRecord(7, 4, COMPLETE, "2024-01-01T00"),  # the first run has read a window
        10: HourRecord(10, 10, COMPLETE, "2024-01-01T03"),
    }
    closed = [2, 4, 5, 7, 8, 9, 10, 11]
    assert overtaken(closed, [7, 10], there) == [8, 9]
    assert waiting(closed, [7, 10], there) == [11]
    there[9] = HourRecord(9, 9, RETRY, "", requests=1)  # somebody has asked for it
    assert overtaken(closed, [7, 10], there) == [8]
    assert next_run(closed, [7, 10, 11], there, 3) == DueRun(9, 11)
    assert overtaken(closed, [], {}) == []


def test_failures_in_a_row_are_those_of_the_last_runs() -> None:
    assert failures_in_a_row({}) == 0
    assert failures_in_a_row(records(h5=FAILED, h6=COMPLETE, h7=FAILED, h8=FAILED)) == 2
    assert failures_in_a_row(records(h5=FAILED, h6=FAILED, h7=COMPLETE)) == 0
    again = records(h5=FAILED, h6=FAILED, h7=FAILED)
    again[6] = dataclasses.replace(again[6], state=RETRY)
    assert failures_in_a_row(again) == 2
