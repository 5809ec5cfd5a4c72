"""Settings and columns may change between two starts without losing or miscounting events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from base.atomic_files import write_json
from base.errors import ComponentError
from streaming.accounts import accounts
from streaming.column_names import check_columns
from streaming.layout import LANDED, LATE, Layout, read_json
from streaming.replay import replay
from streaming.verify import verify
from tests.streaming.event_log import (
    CLICK,
    FIRST_HOUR,
    IMPRESSION,
    click,
    impression,
    put,
    rows_of,
    settings,
    side_output,
    spans,
    streams,
)

pytestmark = pytest.mark.integration


def of_columns(folder: Path, **columns: str) -> Any:
    """Returns settings whose impressions have id, time and these columns."""
    keys = {"impression_id": "string", "timestamp_ms": "bigint"}
    return settings(folder, streams=streams(impressions={**keys, **columns}))


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["impression_id"] for row in rows)


@pytest.mark.parametrize("within", ["180m", "1m"])
def test_a_closed_hour_stays_closed_under_other_settings(
    spark, run, tmp_path: Path, within: str
) -> None:
    """T1."""
    streaming = settings(tmp_path / "out")
    layout = Layout(streaming.folder)
    put(streaming, "impressions", impression("a", 10), impression("z", 150), name="1")
    run(streaming)
    assert [*layout.closed_hours()] == [FIRST_HOUR]
    declared = streams()
    declared["clicks"]["outcome"]["within"] = within
    other = settings(tmp_path / "out", streams=declared, allowed_lateness_minutes=60)
    put(other, "impressions", impression("b", 11), impression("c", 12), name="2")
    put(other, "clicks", click("k", "a", 13), name="2")
    run(other)
    run(other)  # keeps late events
    assert ids(side_output(layout, LATE, "impressions")) == ["b", "c"]
    assert accounts(layout)["hours"][0]["late"] == 3
    assert verify(other).problems == []
    of = replay(spark, FIRST_HOUR, other).marker["streams"]
    assert of["impressions"] == {
        "landed": 3,
        "rows": 3,
        "files": [path.name for path in layout.span("impressions", FIRST_HOUR, 2).iterdir()],
        "duplicates": 0,
        "unfit": 0,
    }
    assert of["clicks"]["outcomes"]["counted"] == (0 if within == "1m" else 1)
    assert verify(other).problems == []


def test_an_old_hour_without_a_marker_accepts_events(run, tmp_path: Path) -> None:
    """It was never closed."""
    streaming = settings(tmp_path / "out")
    layout = Layout(streaming.folder)
    put(streaming, "clicks", click("k", "a", 70), name="1")
    run(streaming)
    put(streaming, "impressions", impression("z", 500), name="1")
    run(streaming)
    assert [*layout.closed_hours()] == [FIRST_HOUR + 1]
    put(streaming, "impressions", impression("a", 55), name="2")
    run(streaming)
    assert [*layout.closed_hours()] == [FIRST_HOUR, FIRST_HOUR + 1]
    assert ids(spans(layout, "impressions", 0)) == ["a"]
    assert verify(streaming).places["impressions"]["late"] == 0


def test_an_hour_that_has_only_late_events_is_replayed(spark, run, tmp_path: Path) -> None:
    """T2: earlier versions of the project left such hours, without a marker or a span."""
    streaming = settings(tmp_path / "out")
    layout = Layout(streaming.folder)
    patient = settings(tmp_path / "out", allowed_lateness_minutes=1000)
    put(patient, "impressions", impression("a", 55), impression("a", 55), name="1")
    run(patient)
    manifest = read_json(layout.manifest(0))
    manifest["rows"][0]["outcome"] = LATE
    write_json(layout.manifest(0), manifest)
    late = layout.landed(0, "impressions", FIRST_HOUR, LATE)
    late.parent.mkdir(parents=True)
    layout.landed(0, "impressions", FIRST_HOUR, LANDED).rename(late)

    (hour, *_) = accounts(layout)["hours"]
    assert (hour["state"], hour["late"]) == ("late only", 2)
    marker = replay(spark, FIRST_HOUR, streaming).marker
    assert (marker["version"], marker["streams"]["impressions"]["rows"]) == (1, 1)
    assert marker["streams"]["impressions"]["duplicates"] == 1
    assert ids(spans(layout, "impressions", 0)) == ["a"]
    assert verify(streaming).problems == []
    put(streaming, "impressions", impression("b", 56), name="4")
    run(streaming)
    assert replay(spark, FIRST_HOUR, streaming).marker["streams"]["impressions"]["rows"] == 2
    assert verify(streaming).problems == []


BEFORE = {"impression_id": "a", "timestamp_ms": FIRST_HOUR * 3_600_000}
AFTER = {**BEFORE, "impression_id": "b"}


@pytest.mark.parametrize(
    ("was", "value", "now", "new", "there"),
    [
        ({}, None, {"v": "int"}, 2, {"a": None, "b": 2}),  # added
        ({"v": "int"}, 1, {}, None, {"a": None, "b": None}),  # removed
        ({"v": "int"}, 1, {"v": "bigint"}, 2**40, {"a": 1, "b": 2**40}),
        ({"v": "bigint"}, 2**40, {"v": "string"}, "x", {"a": str(2**40), "b": "x"}),
        ({"v": "string"}, "7", {"v": "bigint"}, 8, {"a": 7, "b": 8}),
        ({"v": "string"}, "x7", {"v": "bigint"}, 8, {"b": 8}),  # rejected, would become null
        ({"v": "string"}, " 7", {"v": "double"}, 8.5, {"b": 8.5}),
        ({"v": "bigint"}, 2**40, {"v": "int"}, 8, {"b": 8}),  # rejected, would overflow
        ({"v": "double"}, 1.5, {"v": "int"}, 8, {"b": 8}),
        ({"v": "double"}, 3.0, {"v": "int"}, 8, {"a": 3, "b": 8}),
        ({"v": "boolean"}, True, {"v": "string"}, "no", {"a": "true", "b": "no"}),
        ({"v": "string"}, "yes", {"v": "boolean"}, True, {"b": True}),
        (
            {"v": "array<int>"},
            [1, 2],
            {"v": "array<bigint>"},
            [2**40],
            {"a": [1, 2], "b": [2**40]},
        ),
        ({"v": "string"}, "x", {"v": "array<int>"}, [3], {"b": [3]}),
    ],
)
def test_a_column_changes_within_an_hour(
    run, tmp_path: Path, was: Any, value: Any, now: Any, new: Any, there: dict[str, Any]
) -> None:
    """T5: each event is in the span with its value, or rejected with its record."""
    before, after = of_columns(tmp_path / "out", **was), of_columns(tmp_path / "out", **now)
    layout = Layout(before.folder)
    put(before, "impressions", {**BEFORE, "v": value}, name="1")
    run(before)
    put(after, "impressions", {**AFTER, "v": new}, name="2")
    run(after, finish=True)
    assert {r["impression_id"]: r.get("v") for r in spans(layout, "impressions", 0)} == there
    refused = rows_of([layout.unfit("impressions", FIRST_HOUR, 1)], None)
    assert [row["_reason"] for row in refused] == ["type_changed"] * (2 - len(there))
    assert all(json.loads(row["_record"])["v"] == value for row in refused)
    verified = verify(after)
    assert verified.problems == []
    assert verified.places["impressions"]["spans"] == len(there)
    assert verified.places["impressions"]["refused"] == 2 - len(there)


def test_a_replay_reads_a_span_of_other_columns(spark, run, tmp_path: Path) -> None:
    before = of_columns(tmp_path / "out", v="string", gone="int")
    layout = Layout(before.folder)
    events = [{**BEFORE, "v": "1", "gone": 1}, {**AFTER, "v": "x", "gone": 2}]
    put(before, "impressions", *events, name="1")
    run(before, finish=True)
    after = of_columns(tmp_path / "out", v="bigint", new="string")
    put(before, "impressions", {**BEFORE, "impression_id": "e", "v": "y"}, name="2a")
    run(before)
    put(after, "impressions", {**BEFORE, "impression_id": "c", "v": 3, "new": "n"}, name="2")
    run(after)
    marker = replay(spark, FIRST_HOUR, after).marker
    rows = rows_of([layout.span("impressions", FIRST_HOUR, 2)], None)
    assert sorted((r["impression_id"], r["v"], r["new"]) for r in rows) == [
        ("a", 1, None),
        ("c", 3, "n"),
    ]
    assert marker["streams"]["impressions"]["unfit"] == 2  # one from the span, one late
    put(after, "impressions", {**BEFORE, "impression_id": "d", "v": 4}, name="3")
    run(after)
    assert (
        replay(spark, FIRST_HOUR, after).marker["streams"]["impressions"]["unfit"] == 2
    )  # still left out
    assert verify(after).problems == []


def test_events_without_a_new_id_column_are_rejected_not_duplicates(run, tmp_path: Path) -> None:
    before = of_columns(tmp_path / "out")
    put(before, "impressions", BEFORE, AFTER, name="1")
    run(before)
    after = settings(
        tmp_path / "out",
        streams={
            "impressions": {
                "id": "event",
                "time": "timestamp_ms",
                "columns": {"event": "string", "timestamp_ms": "bigint"},
            }
        },
    )
    run(after, finish=True)
    assert verify(after).places["impressions"] == {
        "read": 2,
        "spans": 0,
        "duplicates": 0,
        "open": 0,
        "late": 0,
        "refused": 2,
    }
    assert accounts(Layout(after.folder))["refused"] == {"unfit_at_close": 2}


def test_columns_named_like_folders_and_alike_in_both_streams(spark, run, tmp_path: Path) -> None:
    """The landing has one table for both streams, in folders named outcome, stream, hour."""
    names = {"hour": "int", "stream": "string", "outcome": "string", "kafka_offset": "int"}
    streaming = settings(
        tmp_path / "out",
        streams=streams(
            impressions={**IMPRESSION, **names, "price": "bigint", "a b": "string"},
            clicks={**CLICK, "price": "string", "hour": "double"},
        ),
    )
    values = {"hour": 7, "stream": "s", "outcome": "won", "kafka_offset": 3}
    shown = {**values, "price": 12, "a b": "c"}
    put(streaming, "impressions", impression("a", 1, **shown), name="1")
    put(streaming, "clicks", click("k", "a", 2, price="cheap", hour=0.5), name="1")
    run(streaming)
    run(streaming, finish=True)
    layout = Layout(streaming.folder)
    (row,) = spans(layout, "impressions", 0)
    assert {name: row[name] for name in shown} == shown
    (row,) = spans(layout, "clicks", 0)
    assert (row["price"], row["hour"]) == ("cheap", 0.5)
    put(streaming, "impressions", impression("b", 1, **shown), name="2")
    run(streaming)
    replay(spark, FIRST_HOUR, streaming)
    rows = rows_of([layout.span("impressions", FIRST_HOUR, 2)], [*shown])
    assert rows == [shown, shown]
    assert verify(streaming).problems == []


@pytest.mark.parametrize(
    "name",
    ["_line", "_reason", "_Source", "_record", "_partition", "_time_ms", "_number", "_verdict"],
)
def test_a_reserved_name_is_an_error_before_anything_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ComponentError, match=f"_record.* Received: '{name}'") as told:
        check_columns(of_columns(tmp_path / "out", **{name: "string"}))
    assert "_line" in str(told.value)


@pytest.mark.parametrize("name", ["a.b", "a`b", "*", ""])
def test_a_name_that_spark_reads_as_syntax_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ComponentError, match="Received: ") as told:
        check_columns(of_columns(tmp_path / "out", **{name: "string"}))
    assert f"'{name}'" in str(told.value)


def test_names_that_differ_in_case_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="'price' and 'Price'"):
        check_columns(of_columns(tmp_path / "out", price="int", Price="int"))


def test_an_invalid_type_is_an_error(run, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="Received: v: strin "):
        run(of_columns(tmp_path / "out", v="strin"))


def test_folders_whose_names_are_patterns(run, tmp_path: Path) -> None:
    folder = tmp_path / "a[1]{b,c}*?"
    folder.mkdir()
    streaming = settings(folder / "out")
    put(streaming, "impressions", impression("a", 1), impression("a", 1), name="1")
    run(streaming)
    put(streaming, "impressions", "{", name="2")
    run(streaming, finish=True)
    layout = Layout(streaming.folder)
    assert ids(spans(layout, "impressions", 0)) == ["a"]
    assert verify(streaming).problems == []
    assert verify(streaming).places["impressions"]["refused"] == 1
    assert sorted(path.name for path in folder.iterdir()) == ["out", "out-events"]
