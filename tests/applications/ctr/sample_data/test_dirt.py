"""The manifest counts the injected dirt, and dirt does not change the clean rows."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from applications.ctr.sample_data.dirt import Dirt

pytestmark = pytest.mark.unit


def extra_rows(log) -> pd.DataFrame:
    return log.impressions[~log.impressions["impression_id"].isin(log.truth["impression_id"])]


def test_clean_rows_are_the_same_with_and_without_dirt(clean_log, dirty_log):
    pd.testing.assert_frame_equal(clean_log.truth, dirty_log.truth)
    rows = dirty_log.impressions[
        dirty_log.impressions["impression_id"].isin(dirty_log.truth["impression_id"])
    ].drop_duplicates("impression_id")
    both = clean_log.impressions.merge(rows, on="impression_id", suffixes=("", "_dirty"))
    assert len(both) == len(clean_log.impressions) == len(rows)
    for name in ("session_id", "user_id", "item_id", "position", "surface", "timestamp_ms"):
        assert (both[name] == both[f"{name}_dirty"]).all()
    assert (both["device"] == both["device_dirty"])[both["device_dirty"].notna()].all()


def test_clean_clicks_and_labels_are_the_same_with_and_without_dirt(clean_log, dirty_log):
    ids = ["click_id", "impression_id", "timestamp_ms"]
    assert len(clean_log.clicks.merge(dirty_log.clicks.drop_duplicates(ids), on=ids)) == len(
        clean_log.clicks
    )
    labels = clean_log.clean.set_index("impression_id")["label"]
    assert labels.equals(dirty_log.clean.set_index("impression_id")["label"].loc[labels.index])


def test_the_manifest_counts_match_the_files(dirty_log):
    dirt = json.loads((dirty_log.out / "_manifest.json").read_text())["dirt"]
    rows, extra = dirty_log.impressions, extra_rows(dirty_log)
    users = pd.read_parquet(dirty_log.out / "users.parquet")
    items = set(pd.read_csv(dirty_log.out / "items.csv")["item_id"])
    known = dirty_log.clicks["impression_id"].isin(rows["impression_id"])
    sessions = extra.groupby("session_id")["timestamp_ms"].agg(["size", "min", "max"])
    bots = sessions[sessions["size"] > 100]
    first_copy = rows.drop_duplicates("impression_id")
    found = {
        "duplicate_impressions": len(rows) - len(first_copy),
        "null_user": extra["user_id"].isna().sum(),
        "null_item": extra["item_id"].isna().sum(),
        "null_device": first_copy["device"].isna()[
            first_copy["impression_id"].isin(dirty_log.truth["impression_id"])
        ].sum(),
        "impossible_position": (~extra["position"].between(1, 10)).sum(),
        "impossible_time": (extra["timestamp_ms"] < 10**10).sum(),
        "unknown_item": (~extra["item_id"].dropna().isin(items)).sum(),
        "bots": bots["size"].sum(),
        "bot_sessions": len(bots),
        "broken_lines": dirty_log.broken["impressions"],
        "broken_click_lines": dirty_log.broken["clicks"],
        "orphan_clicks": (~known).sum(),
        "null_age": users["age"].isna().sum(),
        "null_gender": users["gender"].isna().sum(),
    }  # fmt: skip
    assert {name: int(count) for name, count in found.items()} == {n: dirt[n] for n in found}
    assert all(count > 0 for count in dirt.values())
    assert set(dirt) - set(found) == {"duplicate_clicks", "late_clicks"}
    assert (bots["max"] - bots["min"]).max() < 60_000
    counts = dirty_log.summary.counts
    assert counts["impression_lines"] == len(rows) + dirty_log.broken["impressions"]
    assert counts["click_lines"] == len(dirty_log.clicks) + dirty_log.broken["clicks"]


def test_extra_clicks_are_counted_and_late_ones_come_after_the_window(clean_log, dirty_log):
    dirt = dirty_log.summary.dirt
    clicks = dirty_log.clicks
    known = clicks[clicks["impression_id"].isin(dirty_log.truth["impression_id"])]
    new = known[~known["impression_id"].isin(clean_log.clicks["impression_id"])]
    assert len(new) == dirt["late_clicks"]
    shown = dirty_log.truth.merge(clean_log.impressions).set_index("impression_id")["timestamp_ms"]
    assert (new["timestamp_ms"] - new["impression_id"].map(shown)).min() > 31 * 60_000
    assert len(known) - len(new) - len(clean_log.clicks) == dirt["duplicate_clicks"]


def test_duplicates_are_exact_and_come_in_the_same_or_the_next_hour(dirty_log):
    rows = dirty_log.impressions[dirty_log.impressions.duplicated("impression_id", keep=False)]
    columns = [name for name in rows.columns if name != "hour"]
    assert rows.drop_duplicates(columns)["impression_id"].is_unique
    hours = rows.groupby("impression_id")["hour"].agg(lambda hour: sorted(set(hour)))
    steps = {int(h[-1][-2:]) - int(h[0][-2:]) for h in hours}
    assert steps == {0, 1}


def test_bots_have_accounts_and_no_clicks(dirty_log):
    extra = extra_rows(dirty_log)
    size = extra.groupby("session_id")["session_id"].transform("size")
    bots = extra[size > 100]
    users = pd.read_parquet(dirty_log.out / "users.parquet")
    assert set(bots["user_id"]) <= set(users["user_id"])
    assert not dirty_log.clicks["impression_id"].isin(bots["impression_id"]).any()
    assert set(bots["device"]) == {"desktop"}


def test_one_kind_of_dirt_alone(make_log):
    log = make_log(dirt=Dirt(**{**vars(Dirt.preset("none")), "null_item": 0.01}), impressions=9000)
    assert {kind for kind, count in log.summary.dirt.items() if count} == {"null_item"}


def test_a_rate_out_of_range_is_named():
    with pytest.raises(ValueError, match=r"bots is 0\.7"):
        Dirt(bots=0.7)
