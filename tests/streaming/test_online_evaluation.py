"""Metrics of served versions, and what follows from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from components.errors import ComponentError
from components.pusher.release import Release, read_release, write_release
from lineage.store import LineageStore
from pipeline.config import PipelineConfig, load_config
from pipeline.streaming_sections import OnlineRule
from streaming.commands import main
from streaming.layout import Layout, write_whole
from streaming.online_evaluation.act import Actor
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import Served, served
from streaming.online_evaluation.rule import PROMOTE, ROLLBACK, WAIT, Decision, decide

pytestmark = pytest.mark.unit

RULE = OnlineRule(min_impressions=500, calibration=(0.7, 1.4), max_log_loss_increase=0.05)


def log(
    version: int, arm: str, rows: int, seed: int, *, logit: float = 0.0, noise: float = 0.0
) -> pd.DataFrame:
    """Impressions of a model that is off by `logit`, and by noise."""
    chance = np.random.default_rng(seed)
    truth = chance.normal(-2.2, 0.9, rows)
    clicked = chance.random(rows) < 1 / (1 + np.exp(-truth))
    said = truth + logit + noise * chance.normal(size=rows)
    return pd.DataFrame(
        {
            "arm": arm,
            "version": version,
            "probability": 1 / (1 + np.exp(-said)),
            "clicked": clicked.astype(int),
            "user_id": [f"u{n}" for n in chance.integers(0, max(1, rows // 10), rows)],
        }
    )


def test_metrics_of_each_version() -> None:
    good, bad = log(7, "stable", 4000, 1), log(8, "canary", 2000, 2, logit=1.0)
    unranked = log(0, "stable", 100, 3).assign(version=None)
    stable, canary = sorted(served(pd.concat([good, bad, unranked])), key=lambda s: s.version)
    assert (stable.arm, stable.version, stable.impressions) == ("stable", 7, 4000)
    assert stable.clicks == good["clicked"].sum()
    assert stable.values["ctr"] == pytest.approx(good["clicked"].mean())
    assert stable.values["auc"] == pytest.approx(
        roc_auc_score(good["clicked"], good["probability"])
    )
    assert stable.values["calibration"] == pytest.approx(
        good["probability"].mean() / good["clicked"].mean()
    )
    for name, (low, high) in stable.intervals.items():
        assert low < stable.values[name] < high, name
    assert canary.values["calibration"] > 1.5
    assert canary.values["log_loss"] > stable.values["log_loss"]


def test_intervals_hold_the_truth_in_most_hours() -> None:
    """Calibration of a model that says the truth is 1."""
    held = 0
    for seed in range(16):
        (one,) = served(log(1, "stable", 600, seed))
        low, high = one.intervals["calibration"]
        held += low <= 1 <= high
    assert held >= 13


def test_one_class_says_nothing_of_auc() -> None:
    rows = log(1, "stable", 50, 1).assign(clicked=0)
    (one,) = served(rows)
    assert np.isnan(one.values["auc"])
    assert np.isnan(one.values["calibration"])
    assert np.isfinite(one.values["log_loss"])


def metrics(*frames: pd.DataFrame) -> list[Served]:
    return served(pd.concat(frames))


STABLE = log(7, "stable", 4000, 1)


def test_a_canary_that_is_no_worse_is_promoted() -> None:
    found = metrics(STABLE, log(8, "canary", 1500, 2))
    decision = decide(Release(7, canary=8), found, RULE)
    assert decision.what == PROMOTE, decision


def test_a_canary_that_is_off_is_rolled_back() -> None:
    found = metrics(STABLE, log(8, "canary", 1500, 2, logit=1.0))
    decision = decide(Release(7, canary=8), found, RULE)
    assert decision.what == ROLLBACK
    assert "canary 8: calibration" in decision.reason


def test_a_canary_that_knows_less_is_rolled_back() -> None:
    """Its mean is right, its log loss is not."""
    found = metrics(STABLE, log(8, "canary", 3000, 2, logit=-1.1, noise=1.6))
    decision = decide(Release(7, canary=8), found, RULE)
    assert decision.what == ROLLBACK
    assert "log loss" in decision.reason


def test_nothing_is_decided_on_a_few_impressions() -> None:
    found = metrics(STABLE, log(8, "canary", 400, 2, logit=3.0))
    assert decide(Release(7, canary=8), found, RULE).what == WAIT
    assert decide(Release(7, canary=9), found, RULE).reason == "canary has 0 of 500 impressions"


def test_a_stable_version_goes_back_to_the_one_before() -> None:
    bad = log(8, "stable", 1500, 2, logit=1.0)
    assert decide(Release(8, previous=7), metrics(STABLE, bad), RULE).what == ROLLBACK
    good = log(8, "stable", 1500, 2)
    assert decide(Release(8, previous=7), metrics(STABLE, good), RULE).what == WAIT
    assert decide(Release(8), metrics(bad), RULE).what == WAIT  # there is nothing to go back to


# From spans to what is live


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Versions 7 (stable) and 8 (canary), and an hour that both have served."""
    places = [f"{key}={tmp_path}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={tmp_path / 'runs'}", f"serving_root={tmp_path / 'served'}"]
    rule = "streaming.online_rule={min_impressions: 500}"
    config = load_config("pipeline/configs/ctr-stream.yaml", [*places, rule])
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True)
    write_release(config.serving_folder, Release(7, canary=8))
    return config


def close_hour(config: PipelineConfig, hour: int, rows: pd.DataFrame | None) -> None:
    """As ingest would."""
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    span = layout.span("impressions", hour)
    span.mkdir(parents=True)
    frame = pd.DataFrame({"user_id": ["u"]}) if rows is None else rows
    shown = frame.assign(click_ms=None)
    if rows is not None:
        shown["click_ms"] = frame["clicked"].where(frame["clicked"] == 1) * 5.0
        shown = shown.drop(columns="clicked")
    shown.to_parquet(span / "part-0.parquet")
    marker = {"hour": hour, "version": 1, "impressions": {"rows": len(shown)}}
    write_whole(layout.marker(hour), marker)


def invoke(config: PipelineConfig, *flags: str) -> Result:
    assert config.streaming is not None
    folder = config.streaming.folder
    places = [f"{key}={folder}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={config.run_root}", f"serving_root={config.serving_root}"]
    places.append("streaming.online_rule={min_impressions: 500}")
    options = [part for place in places for part in ("--set", place)]
    command = ["evaluate", "--config", "pipeline/configs/ctr-stream.yaml", *options, *flags]
    return CliRunner().invoke(main, command, env={"COLUMNS": "200"})


def test_a_bad_canary_is_rolled_back_and_recorded(config: PipelineConfig) -> None:
    bad = log(8, "canary", 1500, 2, logit=1.0)
    close_hour(config, 474_000, None)  # before there was a model
    close_hour(config, 474_001, pd.concat([STABLE, bad]))
    looked = invoke(config)
    assert looked.exit_code == 0, looked.output
    assert "2024-01-28 01h" in looked.output
    assert "rollback: canary 8: calibration" in looked.output
    assert read_release(config.serving_folder) == Release(7, canary=8)  # only looked at

    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert read_release(config.serving_folder) == Release(7)
    assert "calibration" in (config.serving_folder / "8" / "WITHDRAWN").read_text()
    store = LineageStore.sqlite(config.metadata_path)
    (execution,) = store.run("latest").components
    assert execution.component == "Rollback"
    assert "version 7 is the only one" in invoke(config, "--act").output


def test_a_good_canary_is_promoted(config: PipelineConfig) -> None:
    close_hour(config, 474_001, pd.concat([STABLE, log(8, "canary", 1500, 2)]))
    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert read_release(config.serving_folder) == Release(8, previous=7)
    evaluation = OnlineEvaluation(config)
    assert config.streaming is not None
    judged = Decision("rollback", "of before", Release(7, canary=8))
    with pytest.raises(ComponentError, match="has changed meanwhile"):
        Actor(config, config.streaming.folder).act(
            judged, 474_001
        )  # nothing is undone that nobody has judged
    assert read_release(config.serving_folder) == Release(8, previous=7)
    assert evaluation.new_hours() == []
    (found,) = evaluation.results().values()
    assert {one["version"]: one["impressions"] for one in found} == {7: 4000, 8: 1500}
