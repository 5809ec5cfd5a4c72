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
from streaming.ingest import Ingest, ingest
from streaming.layout import LATE, REFUSED, Layout
from streaming.replay import replay
from streaming.verify import verify
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


def test_every_outcome_of_a_dirty_log_has_its_verdict(run, tmp_path: Path, dirty_log: Path) -> None:
    """Compares with pandas; one batch reads all files, so no event is late."""
    streaming = settings(tmp_path / "out", watched=dirty_log, max_files_per_batch=1000)
    run(streaming, finish=True)
    layout = Layout(tmp_path / "out")
    shown = pd.DataFrame(spans(layout, "impressions"))[["impression_id", "timestamp_ms"]]
    first = shown.groupby("impression_id", as_index=False).min()
    clicks = pd.DataFrame(spans(layout, "clicks")).merge(first, on="impression_id", how="left")
    delay = clicks["timestamp_ms_x"] - clicks["timestamp_ms_y"]
    fits = delay.between(0, 30 * 60_000)
    earliest = clicks[fits].groupby("impression_id")["timestamp_ms_x"].min()
    # An event may lie further back than an outcome of its hour is looked for.
    near = clicks["timestamp_ms_y"] // HOUR_MS >= clicks["timestamp_ms_x"] // HOUR_MS - 1
    expected = {
        "counted": len(earliest),
        "again": int(fits.sum()) - len(earliest),
        "too late": int(((delay > 30 * 60_000) & near).sum()),
        "too early": int((delay < 0).sum()),
    }
    found: Counter[str] = Counter()
    for marker in layout.closed_hours().values():
        found.update(marker["streams"]["clicks"]["outcomes"])
    assert found.pop("without event") > 0
    found_early = found.pop("too early")
    assert found == {k: n for k, n in expected.items() if k != "too early"}
    assert found_early <= expected["too early"]  # its event may come in a later hour
    assert expected["counted"] > 500
    assert expected["again"] > 0
    assert expected["too late"] > 0


def complete(layout: Layout, table: str) -> float:
    """Returns up to when a table is complete, in minutes since FIRST_HOUR."""
    index = json.loads(layout.index(table).read_text())
    return (index["complete_ms"] - FIRST_HOUR * HOUR_MS) / 60_000


def test_an_hour_closes_at_its_end_and_its_labels_follow(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 59), name="1")
    put(streaming, "clicks", click("c", "a", 64.9), name="1")
    run(streaming)
    assert hours(layout) == []
    put(streaming, "clicks", click("d", "a", 65), name="2")  # an hour, and 5 minutes of lateness
    run(streaming)
    assert hours(layout) == [0]
    assert complete(layout, "impressions") == 60
    assert complete(layout, "clicks") == 60
    put(streaming, "impressions", impression("b", 94.9), name="3")
    run(streaming)
    assert complete(layout, "clicks") == 60
    put(streaming, "impressions", impression("b2", 95), name="4")  # 30 minutes more
    run(streaming)
    assert hours(layout) == [0]
    assert complete(layout, "clicks") == 90
    so_far = log.rows_of([layout.span("clicks", FIRST_HOUR + 1, 0)], None)
    assert [row["click_id"] for row in so_far] == ["c", "d"]

    # Later than allowed, but its hour is open: it is counted, and said to be missing in the labels.
    put(streaming, "clicks", click("e", "a", 80), name="5")
    put(streaming, "impressions", impression("z", 200), name="5")
    run(streaming)
    assert hours(layout) == [0, 1]
    of = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]
    assert (of["rows"], of["after_labels"]) == (3, 1)
    assert of["outcomes"] == {
        "counted": 1,
        "again": 2,
        "too late": 0,
        "too early": 0,
        "without event": 0,
    }


def test_an_outcome_that_comes_after_none_had_come_is_counted(run, tmp_path: Path) -> None:
    """Nothing was published at first; what comes later must not look as if it had been."""
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 59), impression("b", 95), name="1")
    run(streaming)
    assert complete(layout, "clicks") == 90
    put(streaming, "clicks", click("e", "a", 80), name="2")
    run(streaming)
    assert not layout.span("clicks", FIRST_HOUR + 1, 0).exists()
    put(streaming, "impressions", impression("z", 200), name="3")
    run(streaming)
    of = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]
    assert (of["rows"], of["after_labels"]) == (1, 1)


def test_outcomes_so_far_are_those_of_the_present_settings(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 59), impression("b", 96), name="1")
    put(streaming, "clicks", click("c", "a", 70), click("d", "a", 95), name="1")
    run(streaming)
    assert complete(layout, "clicks") == 90
    declared = log.streams()
    declared["clicks"]["outcome"]["within"] = "45m"
    now = settings(tmp_path / "out", streams=declared)
    put(now, "impressions", impression("y", 112), name="2")
    run(now)
    assert complete(layout, "clicks") == 105
    so_far = log.rows_of([layout.span("clicks", FIRST_HOUR + 1, 0)], None)
    assert [row["click_id"] for row in so_far] == ["c", "d"]


def test_finish_says_that_outcomes_are_complete_when_all_hours_are_closed(
    spark, tmp_path: Path
) -> None:
    """A run that began between two hours would read none of the second's."""
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 50), impression("b", 70), name="1")
    put(streaming, "clicks", click("c", "a", 65), click("d", "b", 71), name="1")
    seen = []

    def report(what: str, content: dict[str, Any]) -> None:
        if what == "hour":
            seen.append((content["hour"] - FIRST_HOUR, complete(layout, "clicks")))

    ingest(spark, streaming, report, finish=True)
    assert seen == [(0, 0), (1, 60)]
    assert complete(layout, "clicks") == 150
    of = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]
    assert of["after_labels"] == 0


def test_a_replay_says_of_no_open_hour_that_it_is_complete(spark, run, tmp_path: Path) -> None:
    """A killed ingest may have landed a batch, and not yet closed the hours after it."""
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 10), impression("b", 70), name="1")
    run(streaming)
    put(streaming, "impressions", impression("late", 11), impression("z", 300), name="2")
    run(streaming)
    layout.marker(FIRST_HOUR + 1).unlink()
    before = {"complete_ms": (FIRST_HOUR + 1) * HOUR_MS, "spans": [[FIRST_HOUR, FIRST_HOUR]]}
    write_json(layout.index("impressions"), before)
    replay(spark, FIRST_HOUR, streaming)
    assert json.loads(layout.index("impressions").read_text()) == before


def test_outcomes_that_cannot_count_are_counted_by_reason(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 50), impression("b", 50), name="1")
    clicks = [
        click("twice", "a", 52),
        click("first", "a", 51),
        click("same", "a", 51.5),
        click("same", "a", 51.5),
        click("early", "b", 49),
        click("never", "gone", 52),
        click("late", "b", 80.1),
        click("third", "a", 62),
    ]
    put(streaming, "clicks", *clicks, name="1")
    run(streaming, finish=True)
    markers = layout.closed_hours()
    verdicts = [markers[FIRST_HOUR + h]["streams"]["clicks"]["outcomes"] for h in (0, 1)]
    none = {"counted": 0, "again": 0, "too late": 0, "too early": 0, "without event": 0}
    assert verdicts[0] == {**none, "counted": 1, "again": 2, "too early": 1, "without event": 1}
    assert verdicts[1] == {**none, "again": 1, "too late": 1}
    assert markers[FIRST_HOUR]["streams"]["clicks"]["duplicates"] == 1


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
    assert (hour["state"], hour["rows"]["impressions"], hour["late"]) == ("closed", 1, 3)


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
    assert set(rows["a"]) == {*log.IMPRESSION}
    assert (rows["a"]["device"], rows["b"]["device"]) == ("mobile", None)


def test_hours_without_events_and_with_one_stream_only(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 10), impression("b", 250), name="1")
    put(streaming, "clicks", click("c", "gone", 130), name="1")
    run(streaming, finish=True)
    assert hours(layout) == [0, 2, 4]
    found = accounts(layout, streaming.streams)
    states = [(row["state"], *row["rows"].values()) for row in found["hours"]]
    assert states == [
        ("closed", 1, 0),
        ("empty", 0, 0),
        ("closed", 0, 1),
        ("empty", 0, 0),
        ("closed", 1, 0),
    ]
    assert not layout.span("impressions", FIRST_HOUR + 2).exists()
    index = json.loads(layout.index("impressions").read_text())
    assert index["spans"] == [[FIRST_HOUR, FIRST_HOUR], [FIRST_HOUR + 4, FIRST_HOUR + 4]]


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
    asked += ["--set", "streaming.hour_tables=false", "--set", "streaming.online_seconds=null"]
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
    assert (first["state"], first["rows"]["impressions"]) == ("closed", 1)
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
    put(streaming, "clicks", click("c2", "b", 59), click("c3", "late", 11), name="3")
    run(streaming)
    assert len(spans(layout, "impressions", 0)) == 2

    replayed = replay(spark, FIRST_HOUR, streaming)
    assert (replayed.marker["version"], replayed.again) == (2, [])
    assert replayed.labelled == [FIRST_HOUR]
    of = replayed.marker["streams"]
    assert (of["impressions"]["rows"], of["impressions"]["duplicates"]) == (3, 1)
    assert (of["clicks"]["rows"], of["clicks"]["outcomes"]["counted"]) == (3, 3)
    assert {path: path.read_bytes() for path in before} == before
    assert layout.closed_hours()[FIRST_HOUR]["version"] == 2
    counted = accounts(layout)
    first = counted["hours"][0]
    assert (first["state"], first["rows"]["impressions"], first["late"]) == ("closed, v2", 3, 0)
    assert sum(counted["read"].values()) == sum(
        sum(row["rows"].values()) + (row["duplicates"] or 0) + row["late"]
        for row in counted["hours"]
    )
    with pytest.raises(ComponentError, match="newest version has all of them"):
        replay(spark, FIRST_HOUR, streaming)

    # A killed replay has left a folder without a marker; the next replay replaces it.
    put(streaming, "impressions", impression("later still", 12), name="4")
    run(streaming)
    shutil.copytree(
        layout.span("impressions", FIRST_HOUR, 2), layout.span("impressions", FIRST_HOUR, 3)
    )
    assert replay(spark, FIRST_HOUR, streaming).marker["streams"]["impressions"]["rows"] == 4
    with pytest.raises(ComponentError, match="which is open"):
        replay(spark, FIRST_HOUR + 5, streaming)


def test_outcomes_of_late_events_make_their_hours_again(spark, run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 50), impression("z", 300), name="1")
    clicks = [click("c1", "late", 70), click("c2", "a", 71), click("c9", "z", 301)]
    put(streaming, "clicks", *clicks, name="1")
    run(streaming)
    one = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]["outcomes"]
    assert (one["counted"], one["without event"]) == (1, 1)
    put(streaming, "impressions", impression("late", 55), name="2")
    run(streaming)

    replayed = replay(spark, FIRST_HOUR, streaming)
    assert replayed.again == [FIRST_HOUR + 1]
    again = layout.closed_hours()[FIRST_HOUR + 1]
    assert again["version"] == 2
    two = again["streams"]["clicks"]["outcomes"]
    assert (two["counted"], two["without event"]) == (2, 0)
    assert verify(streaming).problems == []

    # It is as if the process had been killed between the two versions.
    layout.marker(FIRST_HOUR + 1, 2).unlink()
    (problem,) = verify(streaming).problems
    assert "replay --hour 2024-01-28T00" in problem
    assert replay(spark, FIRST_HOUR, streaming).again == [FIRST_HOUR + 1]
    assert verify(streaming).problems == []

    # Late outcomes give labels to the hour of their events, which has no new version.
    put(streaming, "clicks", click("c3", "a", 72), name="3")
    run(streaming)
    replayed = replay(spark, FIRST_HOUR + 1, streaming)
    assert (replayed.again, replayed.labelled) == ([], [FIRST_HOUR])


def test_a_late_outcome_that_is_the_first_uncounts_the_other(spark, run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "impressions", impression("a", 50), impression("z", 300), name="1")
    put(streaming, "clicks", click("c2", "a", 70), click("c9", "z", 301), name="1")
    run(streaming)
    of = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]["outcomes"]
    assert (of["counted"], of["again"]) == (1, 0)
    put(streaming, "clicks", click("c1", "a", 55), name="2")
    run(streaming)
    replayed = replay(spark, FIRST_HOUR, streaming)
    assert (replayed.again, replayed.labelled) == ([FIRST_HOUR + 1], [FIRST_HOUR])
    closed = layout.closed_hours()
    verdicts = [closed[FIRST_HOUR + h]["streams"]["clicks"]["outcomes"] for h in (0, 1)]
    assert [(of["counted"], of["again"]) for of in verdicts] == [(1, 0), (0, 1)]
    assert verify(streaming).problems == []


def test_an_hour_that_closes_after_later_ones_gives_their_outcomes_an_event(
    run, tmp_path: Path
) -> None:
    streaming = settings(tmp_path / "out")
    layout = Layout(tmp_path / "out")
    put(streaming, "clicks", click("k", "a", 70), name="1")
    run(streaming)
    put(streaming, "impressions", impression("z", 500), name="1")
    run(streaming)
    before = layout.closed_hours()[FIRST_HOUR + 1]["streams"]["clicks"]["outcomes"]
    assert before["without event"] == 1
    put(streaming, "impressions", impression("a", 55), name="2")
    told = run(streaming)
    assert [m["hour"] for what, m in told if what == "again"] == [FIRST_HOUR + 1]
    after = layout.closed_hours()[FIRST_HOUR + 1]
    assert (after["version"], after["streams"]["clicks"]["outcomes"]["counted"]) == (2, 1)
    assert verify(streaming).problems == []
    assert run(streaming) == []


def test_a_stream_that_is_no_longer_declared_keeps_its_events(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    put(streaming, "impressions", impression("a", 5), name="1")
    put(streaming, "clicks", click("c1", "a", 7), name="1")
    run(streaming)
    less = settings(tmp_path / "out", streams={"impressions": log.streams()["impressions"]})
    with pytest.raises(ComponentError, match="1 events of 'clicks' have landed"):
        run(less)
    run(streaming, finish=True)
    put(streaming, "impressions", impression("b", 120), name="2")
    run(less, finish=True)
    assert verify(less).problems == []
    assert accounts(Layout(tmp_path / "out"))["places"]["clicks"]["spans"] == 1
    more = log.streams()
    more["extra"] = {"id": "id", "time": "at", "columns": {"id": "string", "at": "bigint"}}
    now = settings(tmp_path / "out", streams=more)
    put(now, "extra", {"id": "e", "at": (FIRST_HOUR + 5) * HOUR_MS}, name="1")
    put(now, "extra", {"id": "f", "at": FIRST_HOUR * HOUR_MS}, name="2")
    run(now, finish=True)
    assert verify(now).places["extra"] == {
        "read": 2,
        "spans": 1,
        "duplicates": 0,
        "open": 0,
        "late": 1,
        "refused": 0,
    }
    assert verify(now).problems == []
