"""Metrics of served versions, and the decisions that follow from them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from base.atomic_files import write_json
from base.errors import ComponentError
from components.pusher.release import Release, read_release, write_release
from metadata.reader import MetadataReader
from pipeline.config import PipelineConfig, load_config
from pipeline.streaming_sections import OnlineRule
from streaming.commands import main
from streaming.layout import Layout
from streaming.online_evaluation.act import DecisionExecutor
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import entropy_increase, served_metrics
from streaming.online_evaluation.rule import (
    PROMOTE,
    ROLLBACK,
    WAIT,
    Decision,
    VersionEvidence,
    decide,
)

pytestmark = pytest.mark.unit

RULE = OnlineRule(min_impressions=500, calibration=(0.7, 1.4), max_log_loss_increase=0.05)


def log(
    version: int, arm: str, rows: int, seed: int, *, logit: float = 0.0, noise: float = 0.0
) -> pd.DataFrame:
    """Returns impressions of a model whose logits are off by `logit` and by noise."""
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
    stable, canary = sorted(
        served_metrics(pd.concat([good, bad, unranked])), key=lambda s: s.version
    )
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


def test_tiny_probabilities_are_told_apart() -> None:
    """A rare event has probabilities below a millionth."""
    rows = log(7, "stable", 4000, 1)
    rows["probability"] *= 1e-8
    (one,) = served_metrics(rows)
    exact = roc_auc_score(rows["clicked"], rows["probability"])
    assert one.values["auc"] == pytest.approx(exact)


def test_intervals_hold_the_truth_in_most_hours() -> None:
    """The true calibration of this model is 1."""
    held = 0
    for seed in range(16):
        (one,) = served_metrics(log(1, "stable", 600, seed))
        low, high = one.intervals["calibration"]
        held += low <= 1 <= high
    assert held >= 13


def test_auc_of_one_class_is_undefined() -> None:
    rows = log(1, "stable", 50, 1).assign(clicked=0)
    (one,) = served_metrics(rows)
    assert np.isnan(one.values["auc"])
    assert np.isnan(one.values["calibration"])
    assert np.isfinite(one.values["log_loss"])


STABLE = log(7, "stable", 4000, 1)
OF_BEFORE = log(6, "previous", 4000, 5)


def known(rows: pd.DataFrame, other: pd.DataFrame | None = None, hours: int = 1) -> VersionEvidence:
    """Returns the evidence of a version that was served in the same hours as `other`."""
    (one,) = served_metrics(rows)
    return VersionEvidence(one, hours, None if other is None else entropy_increase(rows, other))


def decided(release: Release, *judged: VersionEvidence, rule: OnlineRule = RULE) -> Decision:
    return decide(release, {one.served.version: one for one in judged}, rule)


def test_a_canary_that_is_no_worse_is_promoted() -> None:
    canary = known(log(8, "canary", 12_000, 2), log(7, "stable", 12_000, 1))
    decision = decided(Release(7, canary=8), known(STABLE), canary)
    assert decision.what == PROMOTE, decision
    assert decision.reason == "canary 8: within all bounds in 12,000 impressions"


def test_a_canary_that_is_off_is_rolled_back() -> None:
    canary = known(log(8, "canary", 1500, 2, logit=1.0), STABLE)
    decision = decided(Release(7, canary=8), known(STABLE), canary)
    assert decision.what == ROLLBACK
    assert decision.to is None
    assert "canary 8: calibration" in decision.reason


def test_a_noisy_canary_is_rolled_back() -> None:
    """Its mean is right, but its log loss is too high."""
    canary = known(log(8, "canary", 3000, 2, logit=-1.1, noise=1.6), STABLE)
    decision = decided(Release(7, canary=8), known(STABLE), canary)
    assert decision.what == ROLLBACK
    assert "log loss" in decision.reason
    assert "against version 7 +" in decision.reason


def test_a_few_impressions_decide_nothing() -> None:
    canary = known(log(8, "canary", 400, 2, logit=3.0), STABLE)
    assert decided(Release(7, canary=8), known(STABLE), canary).what == WAIT
    nobody = decided(Release(7, canary=9), known(STABLE))
    assert nobody.reason == "canary 9 has 0 of 500 impressions"


def test_too_little_evidence_is_not_taken_for_a_good_model() -> None:
    """A bad canary was once promoted on 470 impressions: its interval touched the bound."""
    rule = OnlineRule(min_impressions=300, calibration=(0.6, 1.6), max_log_loss_increase=0.1)
    bad = known(log(8, "canary", 470, 2, noise=1.1), STABLE)
    assert bad.increase is not None
    low, high = bad.increase.interval
    assert low < 0.1 < high
    decision = decided(Release(7, canary=8), known(STABLE), bad, rule=rule)
    assert decision.what == WAIT
    assert "not certain yet" in decision.reason


@pytest.mark.parametrize(("noise", "what"), [(0.0, PROMOTE), (0.6, ROLLBACK)])
def test_a_canary_does_not_stay_uncertain_for_ever(noise: float, what: str) -> None:
    canary = log(8, "canary", 1500, 2, noise=noise)
    for hours, expected in ((5, WAIT), (6, what)):
        judged = known(canary, STABLE, hours)
        decision = decided(Release(7, canary=8), known(STABLE), judged)
        assert decision.what == expected, decision
    assert "by the values after 6 hours" in decision.reason


def test_a_canary_is_not_compared_with_a_few_impressions() -> None:
    canary = known(log(8, "canary", 12_000, 2), log(7, "stable", 90, 1))
    decision = decided(Release(7, canary=8), known(STABLE), canary)
    assert decision.what == WAIT
    assert "of 90 impressions in the same hours" in decision.reason


def test_a_stable_version_goes_back_to_the_one_before() -> None:
    bad = known(log(8, "stable", 1500, 2, logit=1.0))
    decision = decided(Release(8, previous=7), bad)
    assert (decision.what, decision.to) == (ROLLBACK, 7)
    good = known(log(8, "stable", 1500, 2))
    assert decided(Release(8, previous=7), good).what == WAIT
    alone = decided(Release(8), bad)  # no previous version
    assert alone.what == WAIT
    assert "there is no version to go back to" in alone.reason


def test_a_stable_version_is_judged_beside_a_canary_too() -> None:
    """A stable version worse than the mean once stayed because there was a canary."""
    stable = log(7, "stable", 3000, 1, logit=-1.4, noise=2.4)
    bad = known(stable, OF_BEFORE)
    assert bad.served.values["normalized_entropy"] > 1
    release = Release(7, previous=6, canary=8)
    new = decided(release, bad)  # the canary was not served yet
    assert (new.what, new.to) == (ROLLBACK, 6)
    assert "stable 7: log loss" in new.reason
    better = decided(release, bad, known(log(8, "canary", 1500, 2), stable))
    assert better.what == PROMOTE
    no_better = known(log(8, "canary", 1500, 2, logit=1.2), stable)
    assert decided(release, bad, no_better).to == 6
    assert decided(Release(7, canary=8), bad, no_better) == Decision(
        ROLLBACK,
        decided(Release(6, canary=8), known(OF_BEFORE), no_better).reason,
        Release(7, canary=8),
    )


def test_impressions_without_clicks_prove_nothing() -> None:
    rows = log(8, "canary", 1500, 2).assign(clicked=0)
    undecided = decided(Release(7, canary=8), known(STABLE), known(rows))
    assert undecided.what == WAIT
    overdue = decided(Release(7, canary=8), known(STABLE), known(rows, hours=6))
    assert overdue.what == ROLLBACK


# From spans to the live versions


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a config with versions 7 (stable) and 8 (canary)."""
    places = [f"{key}={tmp_path}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={tmp_path / 'runs'}", f"serving_root={tmp_path / 'served'}"]
    rule = "streaming.online_rule={min_impressions: 500}"
    config = load_config("applications/ctr/configs/ctr-stream.yaml", [*places, rule])
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True)
    write_release(config.serving_folder, Release(7, canary=8))
    return config


def close_hour(config: PipelineConfig, hour: int, rows: pd.DataFrame | None) -> None:
    """Writes a closed hour as ingest would."""
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
    write_json(layout.marker(hour), marker)


def invoke(config: PipelineConfig, *flags: str) -> Result:
    assert config.streaming is not None
    folder = config.streaming.folder
    places = [f"{key}={folder}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={config.run_root}", f"serving_root={config.serving_root}"]
    places.append("streaming.online_rule={min_impressions: 500}")
    options = [part for place in places for part in ("--set", place)]
    command = ["evaluate", "--config", "applications/ctr/configs/ctr-stream.yaml", *options, *flags]
    return CliRunner().invoke(main, command, env={"COLUMNS": "200"})


def test_a_bad_canary_is_rolled_back_and_recorded(config: PipelineConfig) -> None:
    bad = log(8, "canary", 1500, 2, logit=1.0)
    close_hour(config, 474_000, None)  # older than the first model
    close_hour(config, 474_001, pd.concat([STABLE, bad]))
    looked = invoke(config)
    assert looked.exit_code == 0, looked.output
    assert "2024-01-28 01h" in looked.output
    assert "rollback: canary 8: calibration" in looked.output
    assert read_release(config.serving_folder) == Release(7, canary=8)  # without --act

    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert read_release(config.serving_folder) == Release(7)
    assert "calibration" in (config.serving_folder / "8" / "WITHDRAWN").read_text()
    store = MetadataReader.sqlite(config.metadata_path)
    (execution,) = store.run("latest").components
    assert execution.component == "Rollback"
    assert "wait: stable 7: within all bounds" in invoke(config, "--act").output


def test_a_good_canary_is_promoted(config: PipelineConfig) -> None:
    close_hour(config, 474_000, log(7, "stable", 4000, 3, noise=2.0))  # an hour without the canary
    close_hour(config, 474_001, pd.concat([STABLE, log(8, "canary", 1500, 2)]))
    early = invoke(config, "--act")
    assert "wait: canary 8: log loss against version 7" in early.output
    assert "not certain yet" in early.output
    close_hour(config, 474_002, log(7, "stable", 12_000, 3))
    close_hour(config, 474_003, log(8, "canary", 12_000, 4))  # not a shared hour either
    assert "not certain yet" in invoke(config, "--act").output
    shared = [log(7, "stable", 12_000, 5), log(8, "canary", 12_000, 6)]
    close_hour(config, 474_004, pd.concat(shared))
    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert read_release(config.serving_folder) == Release(8, previous=7)
    evaluation = OnlineEvaluation(config)
    assert config.streaming is not None
    judged = Decision("rollback", "of before", Release(7, canary=8))
    with pytest.raises(ComponentError, match="has changed meanwhile"):
        DecisionExecutor(config, config.streaming.folder).act(
            judged, 474_001
        )  # version 8 is stable now, and was not judged as such
    assert read_release(config.serving_folder) == Release(8, previous=7)
    assert evaluation.new_hours() == []
    found = evaluation.results()[474_001]
    assert {one["version"]: one["impressions"] for one in found} == {7: 4000, 8: 1500}


def test_a_bad_stable_version_is_rolled_back_with_its_canary(
    config: PipelineConfig,
) -> None:
    """Good hours long ago do not count."""
    (config.serving_folder / "6").mkdir()
    write_release(config.serving_folder, Release(7, previous=6, canary=8))
    close_hour(config, 474_001, log(7, "stable", 20_000, 3))
    close_hour(config, 474_002, log(7, "stable", 600, 4, logit=1.5))
    done = invoke(config, "--act")
    assert "rollback: stable 7: calibration" in done.output
    assert read_release(config.serving_folder) == Release(6)
    for version in ("7", "8"):
        assert (config.serving_folder / version / "WITHDRAWN").exists()


def test_a_regression_has_no_probabilities_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hours would look like those before the first model: nothing to judge, and no word."""
    config = load_config("applications/ctr/configs/ctr-stream.yaml")
    monkeypatch.setattr(
        type(config),
        "loaded_application",
        lambda _: SimpleNamespace(features=SimpleNamespace(task="regression")),
    )
    with pytest.raises(ComponentError, match="judges probabilities"):
        OnlineEvaluation(config)
