"""Simulated users on pages that others rank."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from applications.ctr.sample_data.click_log import ClickLogConfig
from applications.ctr.sample_data.dirt import Dirt
from applications.ctr.sample_data.served_users import PageRequest, ServedUsers, ShownPage

pytestmark = pytest.mark.unit

CONFIG = ClickLogConfig(impressions=8_000, hours=2, seed=3, users=2_000, dirt=Dirt.preset("none"))


def page_of(request: PageRequest, items: list[str]) -> ShownPage:
    names = [f"{request.session_id}/{request.timestamp_ms}/{item}" for item in items]
    return ShownPage(items, names)


def test_pages_are_requested_and_clicks_name_their_impressions() -> None:
    users = ServedUsers(CONFIG)
    users.start_hour(0)
    asked: list[PageRequest] = []
    shown: set[str] = set()

    def backwards(requests: list[PageRequest]) -> list[ShownPage]:
        asked.extend(requests)
        pages = [page_of(one, list(one.candidates)[::-1][:10]) for one in requests]
        shown.update(name for page in pages for name in page.impression_ids)
        return pages

    impressions, clicks = users.visit(2_000, 0, 0, 1, backwards)
    assert impressions == []
    assert len(asked) == 200
    assert all(len(set(one.candidates)) == len(one.candidates) >= 10 for one in asked)
    assert {one.device for one in asked} == {"mobile", "desktop", "tablet"}
    assert {one.surface for one in asked} == {"home", "search", "category"}
    assert 50 < len(clicks) < 500
    assert {click["impression_id"] for click in clicks} <= shown
    moments = {name: int(name.split("/")[1]) for name in shown}
    assert all(click["timestamp_ms"] > moments[str(click["impression_id"])] for click in clicks)


def test_a_better_ranking_gets_more_clicks() -> None:
    """Compares a ranking by the clicks of the hour before with the order of the candidates."""
    seen: Counter[str] = Counter()
    clicked: Counter[str] = Counter()

    def clicks_of(learned: bool) -> int:
        users = ServedUsers(CONFIG)
        item_of: dict[str, str] = {}

        def pages(requests: list[PageRequest]) -> list[ShownPage]:
            found = []
            for one in requests:
                order = list(one.candidates)
                if learned:
                    order.sort(key=lambda item: -(clicked[item] + 1) / (seen[item] + 10))
                page = page_of(one, order[:10])
                item_of.update(zip(page.impression_ids, page.items, strict=True))
                found.append(page)
            return found

        users.start_hour(0)
        _, first = users.visit(4_000, 0, 0, 1, pages)
        if not learned:
            seen.update(item_of.values())
            clicked.update(item_of[str(click["impression_id"])] for click in first)
        users.start_hour(1)
        _, second = users.visit(4_000, 1, 0, 1, pages)
        return len(second)

    without = clicks_of(learned=False)
    assert clicks_of(learned=True) > 1.1 * without


def test_hours_without_a_model_return_their_impressions() -> None:
    users = ServedUsers(CONFIG)
    users.start_hour(0)
    first, clicks = users.visit(1_000, 0, 0, 2)
    more, _ = users.visit(1_000, 0, 1, 2)
    frame = pd.DataFrame([*first, *more])
    assert len(frame) == frame["impression_id"].nunique() == 2_000
    assert set(frame["position"]) == set(range(1, 11))
    assert {c["impression_id"] for c in clicks} <= {one["impression_id"] for one in first}


def test_the_tables_have_all_users_and_items(tmp_path: Path) -> None:
    users = ServedUsers(CONFIG)
    users.write_tables(tmp_path)
    users.start_hour(0)
    asked: list[PageRequest] = []

    def pages(requests: list[PageRequest]) -> list[ShownPage]:
        asked.extend(requests)
        return [page_of(one, list(one.candidates[:10])) for one in requests]

    users.visit(500, 0, 0, 1, pages)
    known = set(pd.read_parquet(tmp_path / "users.parquet")["user_id"])
    items = set(pd.read_csv(tmp_path / "items.csv")["item_id"])
    assert {one.user_id for one in asked} <= known
    assert {item for one in asked for item in one.candidates} <= items
