"""Metrics of served versions, and the decisions that follow from them."""

from __future__ import annotations

import json
from pathlib import Path

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
from pipeline.online_sections import OnlineRule
from streaming.commands import main
from streaming.layout import Layout
from streaming.online_evaluation.act import DecisionExecutor
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import ServedMetrics, compare
from streaming.online_evaluation.metrics import served_metrics as metrics_of
from streaming.online_evaluation.rule import (
    PROMOTE,
    ROLLBACK,
    WAIT,
    Decision,
    Judgement,
    VersionEvidence,
    decide,
)
from streaming.online_evaluation.tasks import online_task

pytestmark = pytest.mark.unit

BINARY = online_task("binary")
RULE = OnlineRule(min_events=500)


def judgement(rule: OnlineRule) -> Judgement:
    return Judgement(
        task="binary",
        bounds=rule.bounds("binary"),
        titles=BINARY.titles,
        events="impressions",
        min_events=rule.min_events,
        max_unlabelled_fraction=rule.max_unlabelled_fraction,
        patience_hours=rule.patience_hours,
    )


def served_metrics(rows: pd.DataFrame) -> list[ServedMetrics]:
    return metrics_of(rows, BINARY)


def strict(least: float, most: float, percent: float, **others: int) -> OnlineRule:
    """Returns a rule with these bounds of the calibration and of the increase in log loss."""
    thresholds = {
        "calibration": {"min": least, "max": most},
        "normalized_entropy": {"max_worse_percent": percent},
    }
    return OnlineRule.model_validate({"thresholds": thresholds, **others})


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
            "prediction": 1 / (1 + np.exp(-said)),
            "label": clicked.astype(float),
            "group": [f"u{n}" for n in chance.integers(0, max(1, rows // 10), rows)],
        }
    )


def test_metrics_of_each_version() -> None:
    good, bad = log(7, "stable", 4000, 1), log(8, "canary", 2000, 2, logit=1.0)
    unranked = log(0, "stable", 100, 3).assign(version=None)
    stable, canary = sorted(
        served_metrics(pd.concat([good, bad, unranked])), key=lambda s: s.version
    )
    assert (stable.arm, stable.version, stable.events) == ("stable", 7, 4000)
    assert stable.positives == good["label"].sum()
    assert stable.values["mean_label"] == pytest.approx(good["label"].mean())
    assert stable.values["auc"] == pytest.approx(roc_auc_score(good["label"], good["prediction"]))
    assert stable.values["calibration"] == pytest.approx(
        good["prediction"].mean() / good["label"].mean()
    )
    for name, (low, high) in stable.intervals.items():
        assert low < stable.values[name] < high, name
    assert canary.values["calibration"] > 1.5
    assert canary.values["log_loss"] > stable.values["log_loss"]


def test_tiny_probabilities_are_told_apart() -> None:
    """A rare event has probabilities below a millionth."""
    rows = log(7, "stable", 4000, 1)
    rows["prediction"] *= 1e-8
    (one,) = served_metrics(rows)
    exact = roc_auc_score(rows["label"], rows["prediction"])
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
    rows = log(1, "stable", 50, 1).assign(label=0.0)
    (one,) = served_metrics(rows)
    assert np.isnan(one.values["auc"])
    assert np.isnan(one.values["calibration"])
    assert np.isfinite(one.values["log_loss"])


STABLE = log(7, "stable", 4000, 1)
OF_BEFORE = log(6, "previous", 4000, 5)


def known(rows: pd.DataFrame, other: pd.DataFrame | None = None, hours: int = 1) -> VersionEvidence:
    """Returns the evidence of a version that was served in the same hours as `other`."""
    (one,) = served_metrics(rows)
    compared = judgement(RULE).compared
    return VersionEvidence(
        one, hours, None if other is None else compare(rows, other, compared, BINARY)
    )


def decided(release: Release, *judged: VersionEvidence, rule: OnlineRule = RULE) -> Decision:
    return decide(release, {one.served.version: one for one in judged}, judgement(rule))


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
    rule = strict(0.6, 1.6, 10, min_events=300)
    bad = known(log(8, "canary", 470, 2, noise=1.1), STABLE)
    assert bad.comparison is not None
    low, high = bad.comparison.relative["normalized_entropy"][1]
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
    assert "stable 7: normalized log loss" in new.reason
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
    rows = log(8, "canary", 1500, 2).assign(label=0.0)
    undecided = decided(Release(7, canary=8), known(STABLE), known(rows))
    assert undecided.what == WAIT
    overdue = decided(Release(7, canary=8), known(STABLE), known(rows, hours=6))
    assert overdue.what == ROLLBACK


# Rules as earlier configs stated them, with the bounds that they meant.
RULES = {
    "default": OnlineRule(),
    "small": strict(0.6, 1.6, 10, min_events=300),
    "loop": strict(0.5, 2, 10, min_events=200, patience_hours=2),
}
GOLDEN = Path(__file__).parent / "golden" / "online_decisions.json"


@pytest.mark.parametrize("number", range(60))
def test_decisions_are_those_of_the_rule_for_clicks(number: int) -> None:
    """The golden file was written by the rule that knew binary models only (commit 76bb317)."""
    golden = json.loads(GOLDEN.read_text())[number]
    case = golden["case"]
    stable = log(
        *(7, "stable", case["stable_rows"], 2 * number),
        logit=case["stable_logit"],
        noise=case["stable_noise"],
    )
    canary = log(
        *(8, "canary", case["canary_rows"], 2 * number + 1),
        logit=case["canary_logit"],
        noise=case["canary_noise"],
    )
    if case["no_outcomes"]:
        canary = canary.assign(label=0.0)
    judged = [known(stable, hours=case["hours"])]
    if len(canary):
        judged.append(known(canary, stable if case["compared"] else None, case["hours"]))
    release = Release(7, previous=6 if case["previous"] else None, canary=8)
    decision = decided(release, *judged, rule=RULES[case["rule"]])
    assert (decision.what, decision.to) == (golden["what"], golden["to"]), decision
    last = judged[-1]
    for metric in ("calibration", "normalized_entropy"):
        found = (last.served.values[metric], *last.served.intervals[metric])
        assert found == pytest.approx(numbers(golden[metric]), nan_ok=True)
    # 90 events are of nine users, too few for an interval now, and for a decision then and now.
    if golden["increase"] is not None and case["stable_rows"] > 90:
        assert last.comparison is not None
        value, interval = last.comparison.relative["normalized_entropy"]
        assert (value, *interval) == pytest.approx(numbers(golden["increase"]), nan_ok=True)


def numbers(values: list[float | None]) -> tuple[float, ...]:
    return tuple(np.nan if value is None else value for value in values)


def test_the_configs_of_the_loop_mean_what_they_meant() -> None:
    loop = load_config("applications/ctr/configs/ctr-loop.yaml").streaming
    assert loop is not None
    assert judgement(loop.online_rule) == judgement(RULES["loop"])
    plain = load_config("applications/ctr/configs/ctr-stream.yaml").streaming
    assert plain is not None
    assert judgement(plain.online_rule) == judgement(RULES["default"])


# From spans to the live versions


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a config with versions 7 (stable) and 8 (canary)."""
    places = [f"{key}={tmp_path}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={tmp_path / 'runs'}", f"serving_root={tmp_path / 'served'}"]
    rule = "streaming.online_rule={min_events: 500}"
    config = load_config("applications/ctr/configs/ctr-stream.yaml", [*places, rule])
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True)
    write_release(config.serving_folder, Release(7, canary=8))
    return config


def close_hour(config: PipelineConfig, hour: int, rows: pd.DataFrame | None) -> None:
    """Writes a closed hour as ingest would."""
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    shown = pd.DataFrame({"user_id": ["u"]})
    if rows is not None:
        shown = rows.rename(columns={"prediction": "probability", "group": "user_id"})
    clicked = shown.pop("label").to_numpy(bool) if "label" in shown else np.zeros(len(shown), bool)
    begin = hour * 3_600_000
    shown["impression_id"] = [f"{hour}-{number}" for number in range(len(shown))]
    shown["timestamp_ms"] = begin
    clicks = shown[["impression_id"]].iloc[np.flatnonzero(clicked)].copy()
    clicks["timestamp_ms"] = begin + 5
    streams = {}
    for stream, frame in (("impressions", shown), ("clicks", clicks)):
        layout.span(stream, hour).mkdir(parents=True)
        frame.to_parquet(layout.span(stream, hour) / "part-0.parquet")
        streams[stream] = {"rows": len(frame)}
    write_json(layout.marker(hour), {"hour": hour, "version": 1, "streams": streams})
    complete = {"complete_ms": begin + 3 * 3_600_000, "spans": []}
    write_json(layout.index("clicks"), complete)


def invoke(config: PipelineConfig, *flags: str) -> Result:
    assert config.streaming is not None
    folder = config.streaming.folder
    places = [f"{key}={folder}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={config.run_root}", f"serving_root={config.serving_root}"]
    places.append("streaming.online_rule={min_events: 500}")
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
    assert "wait: canary 8: normalized log loss against version 7" in early.output
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
    assert {one["version"]: one["events"] for one in found} == {7: 4000, 8: 1500}


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
