"""The online table's files: what is closed, open, closed again or too old counts once."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from features.online_files import CLOSED, Tiles, write_closed, write_open, write_profiles
from features.online_table import OnlineTable
from features.recent_clicks import RecentClicks
from features.window_features import HOUR_MS, Smoothing, WindowFeature

ITEM = WindowFeature("item", ("item_id",), {"1h": 1, "24h": 24})
PAIR = WindowFeature("user_item", ("user_id", "item_id"), {"1h": 1, "24h": 24})
RECENT = RecentClicks("recent", ("user_id",), ("item_id",), length=3, hours=24)
SMOOTHING = Smoothing(0.1, 20)
NOBODY_ASKED = Tiles([], [])


def tiles(span: int, shown: int, clicked: int, later: int = 0) -> Tiles:
    """Item i1, shown to user u1 in an hour; some clicks come in the hour after it."""
    rest = json.dumps({"keys": ["i1"], "impressions": [shown], "clicks": [clicked]})
    counts: list[tuple[object, ...]] = [
        ("item", "i1", span, span, shown, clicked, None),
        ("user_item", "u1", span, span, shown, clicked, rest),
    ]
    if later:
        rest = json.dumps({"keys": ["i1", "i1"], "impressions": [0, 0], "clicks": [later - 1, 1]})
        counts.append(("item", "i1", span + 1, span, 0, later, None))
        counts.append(("user_item", "u1", span + 1, span, 0, later, rest))
    clicks = [{"timestamp_ms": span * HOUR_MS + n, "item_id": f"i{n}"} for n in range(clicked)]
    return Tiles(counts, [("u1", span, json.dumps(clicks))])


def table(
    folder: Path,
    closed: dict[int, tuple[int, Tiles]],
    open_hours: Tiles = NOBODY_ASKED,
    *,
    as_of_ms: int = 100 * HOUR_MS + 1,
    declared: str = "these",
) -> OnlineTable:
    """Of closed hours (span -> version and contents) and open ones."""
    write_profiles(folder, "v", [])
    spans = {span: version for span, (version, _) in closed.items()}
    write_closed(folder, declared, spans, lambda span: closed[span][1])
    write_open(folder, as_of_ms, open_hours)
    return OnlineTable(folder)


def counts(online: OnlineTable, hour: int = 100) -> dict[str, float]:
    """Of item i1, and of user u1 with it, which are the same here but for their names."""
    now_ms = hour * HOUR_MS + 1
    (item,) = online.window_features(ITEM, [["i1"]], SMOOTHING, now_ms)
    (pair,) = online.window_features(PAIR, [["u1", "i1"]], SMOOTHING, now_ms)
    assert [*item.values()] == [*pair.values()]
    return item


def test_closed_and_open_hours_add_up(tmp_path: Path) -> None:
    online = table(tmp_path, {98: (1, tiles(98, 5, 1)), 99: (1, tiles(99, 7, 2))}, tiles(100, 3, 0))
    assert counts(online) == {
        "item_impressions_1h": 10,
        "item_ctr_1h": SMOOTHING.rate(2, 10),
        "item_impressions_24h": 15,
        "item_ctr_24h": SMOOTHING.rate(3, 15),
    }


def test_windows_move_on_though_the_table_does_not(tmp_path: Path) -> None:
    online = table(tmp_path, {99: (1, tiles(99, 7, 2))}, tiles(100, 3, 0))
    assert counts(online, 100)["item_impressions_1h"] == 10
    assert counts(online, 101)["item_impressions_1h"] == 3
    assert counts(online, 102)["item_impressions_1h"] == 0
    assert counts(online, 124)["item_impressions_24h"] == 3


def test_a_click_counts_in_its_own_hour(tmp_path: Path) -> None:
    online = table(tmp_path, {98: (1, tiles(98, 5, 1, later=3))})
    assert counts(online)["item_ctr_1h"] == SMOOTHING.rate(3, 0)
    assert counts(online)["item_ctr_24h"] == SMOOTHING.rate(4, 5)


def test_an_hour_closed_since_the_open_ones_were_written_counts_once(tmp_path: Path) -> None:
    known_so_far = tiles(99, 4, 0)
    online = table(tmp_path, {98: (1, tiles(98, 5, 1))}, known_so_far)
    assert counts(online)["item_impressions_24h"] == 9
    both = {98: 1, 99: 1}
    write_closed(tmp_path, "these", both, {99: tiles(99, 7, 2)}.__getitem__)  # 98 is not asked for
    online.refresh()
    assert counts(online)["item_impressions_24h"] == 12


def test_an_hour_closed_again_takes_the_place_of_what_it_was(tmp_path: Path) -> None:
    table(tmp_path, {98: (1, tiles(98, 5, 1, later=3)), 99: (1, tiles(99, 7, 2))})
    online = table(tmp_path, {98: (2, tiles(98, 6, 1, later=1)), 99: (1, NOBODY_ASKED)})
    assert counts(online)["item_impressions_24h"] == 13
    assert counts(online)["item_ctr_24h"] == SMOOTHING.rate(4, 13)


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    table(tmp_path, {98: (1, tiles(98, 5, 1)), 99: (1, tiles(99, 7, 2))})
    table(tmp_path, {99: (1, NOBODY_ASKED)})
    with sqlite3.connect(tmp_path / CLOSED) as connection:
        assert {*connection.execute("select distinct span from counts")} == {(99,)}
        assert {*connection.execute("select distinct span from clicks")} == {(99,)}


def test_other_features_are_counted_anew(tmp_path: Path) -> None:
    table(tmp_path, {99: (1, tiles(99, 7, 2))})
    online = table(tmp_path, {99: (1, tiles(99, 70, 20))}, declared="others")
    assert counts(online)["item_impressions_24h"] == 70


def test_the_last_clicks_of_all_hours(tmp_path: Path) -> None:
    online = table(tmp_path, {98: (1, tiles(98, 5, 2)), 99: (1, tiles(99, 7, 1))}, tiles(100, 3, 1))
    now_ms = 100 * HOUR_MS + 5
    found = online.recent_clicks(RECENT, ["u1"], now_ms)
    assert found["recent_item_id"] == ["i0", "i0", "i1"]  # of hours 100, 99, 98
    assert found["recent_hours"] == pytest.approx([0, 1, 2], abs=1e-4)
    assert online.recent_clicks(RECENT, ["u1"], 100 * HOUR_MS)["recent_item_id"][0] == "i0"
    assert online.recent_clicks(RECENT, ["u2"], now_ms)["recent_item_id"] == []


def test_what_fails_half_way_leaves_the_table_as_it_was(tmp_path: Path) -> None:
    online = table(tmp_path, {98: (1, tiles(98, 5, 1))})

    def fails(span: int) -> Tiles:
        raise RuntimeError(span)

    with pytest.raises(RuntimeError):
        write_closed(tmp_path, "these", {98: 1, 99: 1}, fails)
    online.refresh()
    assert counts(online)["item_impressions_24h"] == 5
    write_closed(tmp_path, "these", {98: 1, 99: 1}, {99: tiles(99, 7, 2)}.__getitem__)
    online.refresh()
    assert counts(online)["item_impressions_24h"] == 12


def test_profiles_are_written_when_they_have_changed(tmp_path: Path) -> None:
    online = table(tmp_path, {})
    assert online.profiles("item", ["i1"]) == {}
    write_profiles(tmp_path, "v", [("item", "i1", {"price": 1.0})])  # the same version: not read
    online.refresh()
    assert online.profiles("item", ["i1"]) == {}
    write_profiles(tmp_path, "w", [("item", "i1", {"price": 1.0})])
    online.refresh()
    assert online.profiles("item", ["i1", "i2"]) == {"i1": {"price": 1.0}}


def test_there_is_no_table_yet(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OnlineTable(tmp_path)


def test_many_entities_at_once(tmp_path: Path) -> None:
    """More than SQLite takes values in a query."""
    many = [("item", f"i{n}", 99, 99, n, 0, None) for n in range(1200)]
    online = table(tmp_path, {99: (1, Tiles(many, []))})
    asked = [[f"i{n}"] for n in range(1300)]
    found = online.window_features(ITEM, asked, SMOOTHING, 100 * HOUR_MS)
    assert [one["item_impressions_24h"] for one in found] == [*range(1200), *[0] * 100]
