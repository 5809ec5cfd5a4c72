"""Ingest turns the events of a watched folder into hourly spans."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from base.atomic_files import write_json
from base.errors import ComponentError
from streaming.accounts import accounts
from streaming.commands import main
from streaming.ingest import Ingest
from streaming.layout import LATE, REFUSED, STREAMS, Layout
from streaming.replay import replay
from tests.streaming import event_log as log
from tests.streaming.event_log import (
    FIRST_HOUR,
    HOUR_MS,
    click,
    impression,
    put,
    settings,
    side_output,
    spans,
)

pytestmark = pytest.mark.integration


def hours(layout: Layout) -> list[int]:
    """Returns the closed hours, counted from FIRST_HOUR."""
    return [hour - FIRST_HOUR for hour in layout.closed_hours()]


def test_every_event_of_a_dirty_log_is_kept_once(run, tmp_path: Path, dirty_log: Path) -> None:
    events = tmp_path / "log"
    shutil.copytree(dirty_log, events)
    streaming = settings(tmp_path / "out", watched=events, max_files_per_batch=4)
    told = run(streaming)
    again = json.loads(log.lines_of(events / "impressions")[0])
    put(streaming, "impressions", again, {**again, "impression_id": "too late"}, name="late")
    told += run(streaming, finish=True)
    layout = Layout(tmp_path / "out")
    found = log.assert_every_event_is_there(layout, events)
    assert all(found[what] for what in ("rows", "duplicates", "late", "refused")), found
    kinds = Counter(what for what, _ in told)
    assert kinds["batch"] > 2
    assert kinds["hour"] == len(layout.closed_hours()) >= 5
    counted = accounts(layout)
    assert sum(counted["read"].values()) == sum(found.values())
    assert sum(counted["refused"].values()) == found["refused"]
    assert sum(row["late"] for row in counted["hours"]) == found["late"]
    assert not list(layout.batches.glob("*/outcome=landed/*/*"))  # moved to the spans

    before = {p: p.stat().st_mtime_ns for p in layout.folder.rglob("*") if p.is_file()}
    assert run(streaming, finish=True) == []  # no new files, no reports
    changed = {p for p, when in before.items() if p.stat().st_mtime_ns != when}
    assert all(
        "checkpoint" in str(p) or p.name == ".ingest.lock" for p in changed - {layout.finished}
    )


def test_clicks_are_attributed_to_their_impressions(run, tmp_path: Path, dirty_log: Path) -> None:
    """Compares with a join in pandas; one batch reads all files, so no event is late."""
    streaming = settings(tmp_path / "out", watched=dirty_log, max_files_per_batch=1000)
    run(streaming, finish=True)
    layout = Layout(tmp_path / "out")
    shown = pd.DataFrame(spans(layout, "impressions"))
    clicks = pd.DataFrame(spans(layout, "clicks"))
    joined = clicks.merge(shown[["impression_id", "timestamp_ms"]], on="impression_id")
    delay = joined["timestamp_ms_x"] - joined["timestamp_ms_y"]
    first = joined[delay.between(0, 30 * 60_000)].groupby("impression_id")["timestamp_ms_x"].min()
    found = shown.dropna(subset="click_ms").set_index("impression_id")["click_ms"]
    assert len(first) > 500
    pd.testing.assert_series_equal(
        found.astype("int64").sort_index(), first.sort_index(), check_names=False
    )
    clicked = sum(marker["impressions"]["clicked"] for marker in layout.closed_hours().values())
    assert clicked == len(first)


def test_an_hour_closes_when_its_last_click_could_have_come(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 59), name="1")
    put(streaming, "clicks", click("c", "a", 80), name="1")
    run(streaming)
    assert hours(layout) == []
    # One hour, plus 30 minutes of attribution and 5 of lateness.
    put(streaming, "impressions", impression("b", 94.9), name="2")
    run(streaming)
    assert hours(layout) == []
    put(streaming, "impressions", impression("c", 95), name="3")
    run(streaming)
    assert hours(layout) == [0]
    (row,) = spans(layout, "impressions")
    assert row["click_ms"] == FIRST_HOUR * HOUR_MS + 80 * 60_000
    assert spans(layout, "clicks") == []  # the click's own hour is open


def test_a_closed_hour_does_not_change(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 10), impression("x", 200), name="1")
    run(streaming)
    assert hours(layout) == [0]
    files = {p: p.read_bytes() for p in layout.span("impressions", FIRST_HOUR).iterdir()}
    marker = layout.marker(FIRST_HOUR).read_bytes()

    put(streaming, "impressions", impression("b", 20), impression("a", 10), name="2")
    put(streaming, "clicks", click("c", "a", 12), name="2")
    run(streaming, finish=True)
    assert {p: p.read_bytes() for p in layout.span("impressions", FIRST_HOUR).iterdir()} == files
    assert layout.marker(FIRST_HOUR).read_bytes() == marker
    assert sorted(r["impression_id"] for r in side_output(layout, LATE, "impressions")) == [
        "a",
        "b",
    ]
    assert [row["click_id"] for row in side_output(layout, LATE, "clicks")] == ["c"]
    (hour, *_) = accounts(layout)["hours"]
    assert (hour["state"], hour["impressions"], hour["late"]) == ("closed", 1, 3)


BAD: list[tuple[Any, str]] = [
    ('{"impression_id": "a"', "unparseable"),
    ('{"impression_id": "a", "timestamp_ms": "soon"}', "unparseable"),
    (impression("a", 1, timestamp_ms="soon"), "unparseable"),  # another type
    (impression("a", 1, position=[1]), "unparseable"),
    (impression("a", 1, impression_id=None), "missing_id"),
    ({"impression_id": "a"}, "missing_time"),
    (impression("a", 1, timestamp_ms=-5), "impossible_time"),
    (impression("a", 1, timestamp_ms=FIRST_HOUR * HOUR_MS * 1000), "future"),
]


def test_impossible_events_are_rejected_with_the_reason(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", *[event for event, _ in BAD], name="1")
    run(streaming)
    refused = side_output(layout, REFUSED, "impressions")
    assert [row["_reason"] for row in refused] == [reason for _, reason in BAD]
    assert refused[0]["_record"] == BAD[0][0]
    assert accounts(layout)["refused"] == Counter(reason for _, reason in BAD)
    assert accounts(layout)["watermark_ms"] is None  # a time in the future does not move it

    put(streaming, "impressions", impression("a", 1), name="2")
    run(streaming, finish=True)
    assert hours(layout) == [0]


def test_a_new_field_is_ignored_and_a_missing_one_is_null(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    less = {k: v for k, v in impression("b", 2).items() if k != "device"}
    put(streaming, "impressions", impression("a", 1, campaign="spring"), less, name="1")
    run(streaming, finish=True)
    rows = {row["impression_id"]: row for row in spans(layout, "impressions")}
    assert set(rows["a"]) == {*log.IMPRESSION, "click_ms"}
    assert (rows["a"]["device"], rows["b"]["device"]) == ("mobile", None)


def test_hours_without_events_and_with_one_stream_only(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 10), impression("b", 250), name="1")
    put(streaming, "clicks", click("c", "gone", 130), name="1")
    run(streaming, finish=True)
    assert hours(layout) == [0, 2, 4]
    states = [
        (row["state"], row["impressions"], row["clicks"]) for row in accounts(layout)["hours"]
    ]
    assert states == [
        ("closed", 1, 0),
        ("empty", 0, 0),
        ("closed", 0, 1),
        ("empty", 0, 0),
        ("closed", 1, 0),
    ]
    assert not layout.span("impressions", FIRST_HOUR + 2).exists()
    assert [row["click_ms"] for row in spans(layout, "impressions")] == [None, None]


def test_one_ingest_at_a_time(run, tmp_path: Path) -> None:
    from streaming.layout import exclusive_lock

    streaming = settings(tmp_path / "out")
    with (
        exclusive_lock(tmp_path / "out", "ingest"),
        pytest.raises(ComponentError, match="another ingest"),
    ):
        run(streaming)


def test_a_lost_checkpoint_of_kafka_is_an_error_not_a_second_copy(spark, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out", kafka={"bootstrap_servers": "127.0.0.1:1"})
    layout = Layout(streaming.folder)
    write_json(layout.manifest(0), {"batch": 0, "offsets": {"clicks-0": [0, 9]}, "rows": []})
    with pytest.raises(ComponentError, match="checkpoint is gone"):
        Ingest(spark, streaming, lambda *what: None, threading.Event())


def test_files_are_not_read_into_a_folder_of_kafka(run, tmp_path: Path) -> None:
    """Their batches would be skipped, because the numbers are taken."""
    streaming = settings(tmp_path / "out")
    layout = Layout(streaming.folder)
    write_json(layout.manifest(0), {"batch": 0, "offsets": {"clicks-0": [0, 9]}, "rows": []})
    with pytest.raises(ComponentError, match=r"batches from streaming\.kafka"):
        run(streaming)


def test_a_lost_manifest_is_an_error(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    for n in (1, 2):
        put(streaming, "impressions", impression("a", n), name=str(n))
        run(streaming)
    for number in (0, 1):
        layout.manifest(number).unlink()
    put(streaming, "impressions", impression("b", 1), name="3")
    with pytest.raises(ComponentError, match="unknown which files were read"):
        run(streaming)


def test_a_batch_that_is_not_the_next_one_is_an_error(spark, tmp_path: Path) -> None:
    """A checkpoint that is older than the manifests is an error, for it would skip records."""
    streaming = settings(tmp_path / "out")
    running = Ingest(spark, streaming, lambda *what: None, threading.Event())
    for number in (-1, 1):
        with pytest.raises(ComponentError, match="the checkpoint is an old copy"):
            running.land(spark.range(0), number)


def test_an_unreadable_folder_of_markers_is_an_error(tmp_path: Path) -> None:
    """Otherwise closed hours would be open again."""
    layout = Layout(tmp_path)
    assert layout.closed_hours() == {}
    layout.markers.parent.mkdir()
    layout.markers.write_text("no folder")
    with pytest.raises(NotADirectoryError):
        layout.closed_hours()


def test_status_shows_the_hours(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    asked = ["status", "--config", "applications/ctr/configs/ctr-stream.yaml"]
    asked += ["--set", f"streaming.folder={streaming.folder}"]
    # The path is as long as the test's folder: where a narrow terminal breaks the line varies.
    empty = CliRunner(env={"COLUMNS": "300"}).invoke(main, asked)
    assert "has no events yet" in empty.output
    put(streaming, "impressions", "{", impression("a", 10), impression("b", 200), name="1")
    run(streaming)
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 0
    assert "refused: unparseable 1" in shown.output
    assert "complete up to 2024-01-28 03:15; 1 batches, 1 hours open" in shown.output
    (first, *_) = json.loads(CliRunner().invoke(main, [*asked, "--json"]).output)["hours"]
    assert (first["state"], first["impressions"]) == ("closed", 1)
    other = CliRunner().invoke(main, ["status", "--config", "applications/ctr/configs/ctr.yaml"])
    assert other.output == (
        "Error: ctr has no section `streaming`; add it as streaming/README.md describes\n"
    )


def test_late_events_are_replayed_as_a_new_version(spark, run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    put(streaming, "impressions", impression("a", 5), impression("b", 40), name="1")
    put(streaming, "impressions", impression("z", 300), name="2")
    put(streaming, "clicks", click("c1", "a", 7), click("c9", "z", 301), name="1")
    run(streaming)
    layout = Layout(tmp_path / "out")
    before = {path: path.read_bytes() for path in layout.folder.glob("spans/*/*/*/v1/*")}
    put(streaming, "impressions", impression("late", 10), impression("a", 5), name="3")
    put(streaming, "clicks", click("c2", "b", 61), click("c3", "late", 11), name="3")
    run(streaming)
    assert len(spans(layout, "impressions", 0)) == 2

    marker = replay(spark, FIRST_HOUR, streaming)
    assert marker["version"] == 2
    rows = log.rows_of([layout.span("impressions", FIRST_HOUR, 2)], None)
    minute = FIRST_HOUR * HOUR_MS
    assert {row["impression_id"]: row["click_ms"] for row in rows} == {
        "a": minute + 7 * 60_000,
        "b": minute + 61 * 60_000,  # a click in the next hour, late as well
        "late": minute + 11 * 60_000,
    }
    assert marker["impressions"]["duplicates"] == 1
    assert {path: path.read_bytes() for path in before} == before
    assert layout.closed_hours()[FIRST_HOUR]["version"] == 2
    counted = accounts(layout)
    first = counted["hours"][0]
    assert (first["state"], first["impressions"], first["late"]) == ("closed, v2", 3, 0)
    somewhere = [row[k] or 0 for row in counted["hours"] for k in (*STREAMS, "duplicates", "late")]
    assert sum(counted["read"].values()) == sum(somewhere)
    with pytest.raises(ComponentError, match="newest version has all of them"):
        replay(spark, FIRST_HOUR, streaming)

    # A killed replay has left a folder without a marker; the next replay replaces it.
    put(streaming, "impressions", impression("later still", 12), name="4")
    run(streaming)
    shutil.copytree(
        layout.span("impressions", FIRST_HOUR, 2), layout.span("impressions", FIRST_HOUR, 3)
    )
    assert replay(spark, FIRST_HOUR, streaming)["impressions"]["rows"] == 4
    with pytest.raises(ComponentError, match="which is open"):
        replay(spark, FIRST_HOUR + 5, streaming)
