"""The layout of the log, its determinism, and the calibration of its true probabilities."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from applications.ctr.sample_data.click_log import (
    ClickLogConfig,
    ConfigError,
    generate_click_log,
)
from applications.ctr.sample_data.click_model import ClickModel
from applications.ctr.sample_data.dirt import Dirt
from applications.ctr.sample_data.population import ItemDrift
from applications.sample_files.output_folder import OutputError

pytestmark = pytest.mark.unit

SMALL = ClickLogConfig(impressions=3000, hours=3)


def all_bytes(out: Path) -> dict[str, bytes]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_same_seed_same_bytes_another_seed_other_bytes(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        generate_click_log(ClickLogConfig(impressions=3000, hours=3, seed=seed), tmp_path / name)
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")
    assert all_bytes(tmp_path / "a") != all_bytes(tmp_path / "c")


def test_layout(clean_log):
    hours = {f"2024-03-01/{hour:02d}" for hour in range(6)}
    assert set(clean_log.impressions["hour"]) == hours
    assert hours | {"2024-03-01/06"} <= set(clean_log.clicks["hour"])
    assert list(clean_log.impressions.columns[:-1]) == [
        "impression_id", "session_id", "user_id", "item_id",
        "position", "device", "surface", "timestamp_ms",
    ]  # fmt: skip
    assert list(clean_log.clicks.columns[:-1]) == ["click_id", "impression_id", "timestamp_ms"]
    users = pd.read_parquet(clean_log.out / "users.parquet")
    items = pd.read_csv(clean_log.out / "items.csv")
    columns = ["user_id", "age", "gender", "country", "membership", "signup_ms"]
    assert list(users.columns) == columns
    assert list(items.columns) == ["item_id", "category", "brand", "price", "listed_ms"]
    assert set(clean_log.impressions["user_id"]) <= set(users["user_id"])
    assert set(clean_log.impressions["item_id"]) <= set(items["item_id"])
    assert not list(clean_log.out.rglob(".*"))


@pytest.mark.parametrize("kind", ["impressions", "clicks"])
def test_every_record_is_in_the_folder_of_its_hour(clean_log, kind):
    rows = getattr(clean_log, kind)
    own_hour = pd.to_datetime(rows["timestamp_ms"], unit="ms").dt.strftime("%Y-%m-%d/%H")
    assert (own_hour == rows["hour"]).all()


def test_counts_without_dirt_are_exact(clean_log):
    counts = clean_log.summary.counts
    assert counts["impressions"] == len(clean_log.impressions) == 60_000
    assert clean_log.impressions["impression_id"].is_unique
    assert counts["clicks"] == counts["click_lines"] == len(clean_log.clicks)
    assert counts["attributed_clicks"] == clean_log.clean["label"].sum()
    assert counts["sessions"] == clean_log.impressions["session_id"].nunique()
    assert set(clean_log.summary.dirt.values()) == {0}


def test_ctr_and_best_reachable_auc_by_default(clean_log):
    best = clean_log.summary.best_reachable
    assert 0.07 < best["ctr"] < 0.13
    assert 0.76 < best["auc"] < 0.83


def test_best_reachable_agrees_with_the_files(clean_log):
    rows = clean_log.clean
    rank = rows["click_probability"].rank()
    clicked = rows["label"].sum()
    auc = (rank[rows["label"]].sum() - clicked * (clicked + 1) / 2) / clicked / (
        len(rows) - clicked
    )  # fmt: skip
    chance = rows["click_probability"].where(rows["label"], 1 - rows["click_probability"])
    assert clean_log.summary.best_reachable["auc"] == pytest.approx(auc, abs=1e-5)
    assert clean_log.summary.best_reachable["log_loss"] == pytest.approx(-np.log(chance).mean())


def test_truth_is_calibrated_overall_and_by_decile(clean_log):
    rows = clean_log.clean
    decile = pd.qcut(rows["click_probability"], 10, labels=False)
    for group in [rows, *(rows[decile == d] for d in range(10))]:
        p = group["click_probability"]
        error = np.sqrt((p * (1 - p)).sum()) / len(group)
        assert abs(group["label"].mean() - p.mean()) < 4 * error


def test_position_bias_is_more_than_ranking(clean_log):
    ctr = clean_log.clean.groupby("position")["label"].mean()
    assert ctr[1] > 1.3 * ctr[2] > 1.3 * 1.3 * ctr[5] > ctr[10]
    assert list(ctr.index) == list(range(1, 11))


def test_observable_affinity_is_visible(clean_log):
    users = pd.read_parquet(clean_log.out / "users.parquet")
    rows = clean_log.clean.merge(users, on="user_id")
    rows["band"] = pd.cut(rows["age"], [0, 24, 34, 44, 54, 99])
    cells = rows.groupby(["band", "gender", "category"], observed=True)["click_probability"]
    large = cells.mean()[cells.size() > 100]
    assert large.std() > 0.03


def test_item_popularity_drifts_without_losing_its_spread():
    drift = ItemDrift(2000, ClickModel(), seed=1)
    start = drift.effect
    for hour in range(96):
        drift.step(hour)
    assert 0.9 < drift.effect.std() / start.std() < 1.1
    assert 0.0 < np.corrcoef(start, drift.effect)[0, 1] < 0.3


def test_new_items_appear_and_none_is_shown_before_it_is_listed(clean_log):
    rows = clean_log.clean
    new = rows[rows["listed_ms"] > rows["timestamp_ms"].min()]
    assert len(new)
    assert (new["timestamp_ms"] > new["listed_ms"]).all()


def test_people_never_look_like_bots(clean_log):
    assert clean_log.impressions.groupby("session_id").size().max() <= 30


def test_a_page_shows_no_item_twice(clean_log):
    rows = clean_log.impressions.sort_values(["session_id", "timestamp_ms"])
    page = rows.groupby("session_id").cumcount() // 10
    assert not rows.assign(page=page).duplicated(["session_id", "page", "item_id"]).any()


def test_one_hour_takes_several_parts_when_users_are_few(tmp_path):
    config = ClickLogConfig(impressions=5000, hours=1, users=100, dirt=Dirt.preset("none"))
    generate_click_log(config, tmp_path)
    assert len(list(tmp_path.rglob("impressions/*/00/part-*.json.gz"))) == 10


def test_finished_log_is_left_alone(tmp_path):
    assert generate_click_log(SMALL, tmp_path).written
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = generate_click_log(SMALL, tmp_path)
    assert not again.written
    assert again.counts["impressions"] == 3000
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_unfinished_or_other_log_of_ours_is_replaced(tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_click_log(SMALL, tmp_path / "a", interrupt)
    generate_click_log(SMALL, tmp_path / "a")
    generate_click_log(ClickLogConfig(impressions=4000, hours=5), tmp_path / "b")
    generate_click_log(SMALL, tmp_path / "b")
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")


def test_a_foreign_folder_is_an_error_and_its_files_survive_overwrite(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="--overwrite"):
        generate_click_log(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    generate_click_log(SMALL, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"impressions": 0}, "impressions is 0"),
        ({"hours": 0}, "hours is 0"),
        ({"impressions": 100}, "48 hours need"),
        ({"seed": -1}, "seed"),
        ({"start": "yesterday"}, "start is 'yesterday'"),
        ({"start": "1969-12-31T00"}, "1970"),
        ({"users": 5}, "users is 5"),
        ({"items": 30, "categories": 10}, "items is 30"),
        ({"categories": 0}, "categories is 0"),
    ],
)
def test_bad_configuration_names_the_option(options, names):
    with pytest.raises(ConfigError, match=names) as error:
        ClickLogConfig(**options)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_memory_does_not_grow_with_impressions(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from applications.ctr.sample_data.click_log import ClickLogConfig, generate_click_log
n = int(sys.argv[1])
generate_click_log(
    ClickLogConfig(impressions=n, hours=n // 4000, users=4000, items=900), Path(sys.argv[2])
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", code, str(n), str(tmp_path / str(n))]))
        for n in (200_000, 600_000)
    ]
    assert peaks[1] - peaks[0] < 30 * 1024
