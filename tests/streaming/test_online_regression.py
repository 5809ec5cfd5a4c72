"""A regression is evaluated online by its own metrics, named by its own application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from base.section import ConfigError
from components.pusher.release import Release, read_release
from lineage.served import served
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact
from pipeline.config import PipelineConfig, load_config
from streaming.commands import main
from streaming.online_evaluation.evaluate import OnlineEvaluation
from streaming.online_evaluation.metrics import compare, served_metrics
from streaming.online_evaluation.rule import PROMOTE, ROLLBACK, WAIT
from streaming.online_evaluation.tasks import online_task
from tests.streaming.rides import close_hour, rides, rides_config

pytestmark = pytest.mark.unit

HOUR = 474_000
TASK = online_task("regression")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineConfig:
    return rides_config(tmp_path, monkeypatch)


def as_read(rows):  # type: ignore[no-untyped-def]
    return rows.rename(columns={"fare": "label", "driver": "group"}).assign(hour=HOUR)


def test_metrics_are_those_of_scikit_learn() -> None:
    rows = rides(7, "stable", 2000, 1, bias=1.5)
    (one,) = served_metrics(as_read(rows), TASK)
    assert (one.events, one.positives, one.unlabelled) == (2000, None, 0)
    fare, prediction = rows["fare"], rows["prediction"]
    rmse = root_mean_squared_error(fare, prediction)
    assert one.values == pytest.approx(
        {
            "mean_label": fare.mean(),
            "rmse": rmse,
            "mae": mean_absolute_error(fare, prediction),
            "bias": (prediction - fare).mean(),
            "normalized_rmse": rmse / fare.std(ddof=0),
        }
    )
    for name, (low, high) in one.intervals.items():
        assert low < one.values[name] < high, name


def test_labels_far_from_zero_keep_their_digits() -> None:
    rows = as_read(rides(7, "stable", 2000, 1))
    far = rows.assign(label=rows["label"] + 1e9, prediction=rows["prediction"] + 1e9)
    (near,), (one,) = served_metrics(rows, TASK), served_metrics(far, TASK)
    for name in ("rmse", "mae", "bias", "normalized_rmse"):
        assert one.values[name] == pytest.approx(near.values[name], rel=1e-5)


def test_intervals_hold_the_truth_in_most_hours_of_events_in_groups() -> None:
    """The true bias is 0. Intervals of independent events would hold it in half of them."""
    held = held_by_rows = 0
    for seed in range(40):
        rows = as_read(rides(7, "stable", 600, seed))
        alone = rows.assign(group=[str(number) for number in range(len(rows))])
        for frame, by_group in ((rows, True), (alone, False)):
            (one,) = served_metrics(frame, TASK)
            low, high = one.intervals["bias"]
            if by_group:
                held += low <= 0 <= high
            else:
                held_by_rows += low <= 0 <= high
    assert held >= 35
    assert held_by_rows < held


def test_a_canary_without_anything_to_compare_it_with_is_not_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "{rmse: {max_worse: 1}, normalized_rmse: null}"
    config = rides_config(tmp_path, monkeypatch, f"streaming.online_rule.thresholds={rule}")
    close_hour(config, HOUR, [rides(8, "canary", 9000, 2)])
    close_hour(config, HOUR + 1, [rides(7, "stable", 9000, 1)])
    assert decided(config) == (WAIT, "canary 8: no other version was served in the same hours")
    close_hour(config, HOUR + 2, [rides(7, "stable", 9000, 3), rides(8, "canary", 9000, 4)])
    assert decided(config)[0] == PROMOTE


@pytest.mark.parametrize("groups", [1, 9])
def test_a_few_groups_of_events_prove_nothing(config: PipelineConfig, groups: int) -> None:
    """All replicates of one group are equal: its interval would have no width."""
    frames = [rides(7, "stable", 3000, 1), rides(8, "canary", 3000, 2)]
    for frame in frames:
        frame["driver"] = [f"d{number % groups}" for number in range(len(frame))]
    (one,) = served_metrics(as_read(frames[1]), TASK)
    assert np.isnan(one.intervals["rmse"]).all()
    close_hour(config, HOUR, frames)
    what, reason = decided(config)
    assert what == WAIT
    assert reason.endswith("not certain yet")


def test_events_without_an_arm_are_shown(config: PipelineConfig) -> None:
    close_hour(config, HOUR, [rides(7, "stable", 400, 1).assign(arm=None)])
    evaluation = OnlineEvaluation(config)
    assert evaluation.new_hours() == [HOUR]
    assert [(one.arm, one.events) for one in evaluation.evaluate(HOUR)] == [("", 400)]


def test_equal_labels_have_no_normalized_error() -> None:
    rows = as_read(rides(7, "stable", 50, 1)).assign(label=3.3)
    (one,) = served_metrics(rows, TASK)
    assert np.isnan(one.values["normalized_rmse"])
    assert np.isfinite(one.values["rmse"])


def test_a_comparison_is_relative_and_absolute() -> None:
    better, worse = (as_read(rides(n, "a", 2000, n, noise=n / 4)) for n in (7, 8))
    found = compare(worse, better, ["rmse"], TASK)
    ratio, (low, high) = found.relative["rmse"]
    assert low < ratio < high
    assert ratio == pytest.approx(8 / 7 - 1, abs=0.05)
    assert found.absolute["rmse"][0] == pytest.approx((8 - 7) / 4 * 2**0.5, abs=0.15)
    assert (found.other, found.events) == (7, 2000)


def decided(config: PipelineConfig) -> tuple[str, str]:
    decision = OnlineEvaluation(config).decide()
    return decision.what, decision.reason


def test_a_canary_that_is_no_worse_is_promoted(config: PipelineConfig) -> None:
    close_hour(config, HOUR, [rides(7, "stable", 9000, 1), rides(8, "canary", 9000, 2)])
    assert decided(config) == (PROMOTE, "canary 8: within all bounds in 9,000 rides")


def test_a_canary_with_larger_errors_is_rolled_back(config: PipelineConfig) -> None:
    close_hour(config, HOUR, [rides(7, "stable", 3000, 1), rides(8, "canary", 900, 2, noise=3)])
    what, reason = decided(config)
    assert what == ROLLBACK
    assert reason.startswith("canary 8: normalized RMSE against version 7 +51.2% (")
    assert reason.endswith("at most +5%")


def test_a_bound_that_the_config_names_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = "streaming.online_rule.thresholds={bias: {min: -0.5, max: 0.5}, rmse: {max_worse: 0.3}}"
    config = rides_config(tmp_path, monkeypatch, rule)
    biased = rides(8, "canary", 9000, 2, bias=1.0)
    close_hour(config, HOUR, [rides(7, "stable", 9000, 1), biased])
    what, reason = decided(config)
    assert what == ROLLBACK
    assert "bias 1.0" in reason
    assert "bounds -0.5 and 0.5" in reason


def test_results_are_recorded_and_shown_with_the_applications_names(
    config: PipelineConfig,
) -> None:
    writer = MetadataWriter.connect(config.metadata_connection, config.name)
    for version in (7, 8):
        pushed = {"pushed_version": str(version), "pushed_destination": f"/served/{version}"}
        made = NewArtifact("PushedModel", f"/served/{version}", {**pushed, "pushed": 1})
        writer.record("tfx.components.Pusher", {}, outputs=[("pushed_model", made)])
    close_hour(config, HOUR, [rides(7, "stable", 900, 1), rides(8, "canary", 900, 2, noise=4)])
    shown = evaluate(config, "--act")
    assert shown.exit_code == 0, shown.output
    assert "mean fare" in shown.output
    assert "RMSE" in shown.output
    assert "AUC" not in shown.output
    assert read_release(config.serving_folder) == Release(7)
    page = (config.streaming.folder / "online.html").read_text()  # type: ignore[union-attr]
    assert "the values of driver" in page
    assert "mean fare" in page
    one = next(m for m in served(MetadataReader.sqlite(config.metadata_path)) if m.version == "8")
    (hour,) = one.hours
    assert hour.counts == {"rides": 900}
    assert {"rmse", "mae", "bias", "normalized_rmse"} <= hour.metrics.keys()


def evaluate(config: PipelineConfig, *flags: str) -> Result:
    path = Path(config.schema_file).with_suffix(".yaml")
    return CliRunner().invoke(
        main, ["evaluate", "--config", str(path), *flags], env={"COLUMNS": "220"}
    )


def test_events_without_a_label_are_counted_and_their_hour_waits(config: PipelineConfig) -> None:
    open_rides = rides(8, "canary", 1000, 2)
    open_rides.loc[:99, "fare"] = None
    close_hour(config, HOUR, [rides(7, "stable", 500, 1), open_rides])
    reason = "canary 8 has 0 of 300 rides; 1 of the last hours wait for labels"
    assert decided(config) == (WAIT, reason)
    assert "1,000 (100 without a label yet)" in evaluate(config).output
    found = {one.version: one for one in served_metrics(as_read(open_rides), TASK)}
    assert (found[8].events, found[8].labelled) == (1000, 900)
    assert np.isfinite(found[8].values["rmse"])


def test_a_version_whose_own_labels_are_missing_waits(config: PipelineConfig) -> None:
    """They are few among all events of the hour, but a tenth of the canary's."""
    open_rides = rides(8, "canary", 1000, 2)
    open_rides.loc[:99, "fare"] = None
    close_hour(config, HOUR, [rides(7, "stable", 9000, 1), open_rides])
    reason = "canary 8: the label of 100 of 1,000 rides is not known yet"
    assert decided(config) == (WAIT, reason)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("prediction", np.inf, "a prediction must be a finite number"),
        ("fare", np.inf, "a label must be a finite number"),
    ],
)
def test_an_hour_with_impossible_values_is_left_out_with_a_word(
    config: PipelineConfig, column: str, value: float, said: str
) -> None:
    wrong = rides(8, "canary", 1000, 2)
    wrong.loc[3, column] = value
    close_hour(config, HOUR, [wrong])
    close_hour(config, HOUR + 1, [rides(8, "canary", 400, 3)])
    shown = evaluate(config)
    assert shown.exit_code == 0, shown.output
    assert "2024-01-28 00h is left out" in shown.output
    assert said in shown.output
    assert OnlineEvaluation(config).new_hours() == []


def test_an_hour_without_the_label_is_left_out_with_a_word(config: PipelineConfig) -> None:
    close_hour(config, HOUR, [rides(8, "canary", 400, 3).drop(columns="fare")])
    assert "expected the column fare of served events" in evaluate(config).output


WRONG = {
    "online_rule.thresholds={auc: {min: 0.6}}": "metrics of the task regression: .* Received: auc",
    "online_rule.thresholds={rmze: {max: 1}}": "Received: rmze. Did you mean rmse",
    "online_rule.thresholds={bias: {max_worse: 1}}": "bias: neither higher nor lower",
    "online_rule.thresholds={normalized_rmse: null}": "every canary would be promoted",
    "online_rule.thresholds={rmse: {}}": "give min, max",
    "online_rule.thresholds={normalized_rmse: {min: 2}}": "min must not be above max",
    "online_rule.calibration=[0.5, 2]": "calibration was replaced by thresholds",
    "online_rule.max_log_loss_increase=0.1": "which is 100 times 0.1",
    "served={label: fare}": "group",
    "served={group: driver}": "say what became of an event: `label`.* or `key`",
    "served={group: driver, outcome: tips}": "a label of binary models",
    "served={group: driver, outcome: clicks, label: fare}": "served.outcome: expected one of",
    "served={group: drivr, label: fare}": "streaming.served.group: .* Did you mean driver",
    "served={group: driver, label: fares}": "streaming.served.label: .* Did you mean fare",
    "served={group: driver, label: fare, key: ride_id}": "name only one of them",
    "served={group: driver, key: ride}": "streaming.served.key: .* Did you mean ride_id",
    "served={group: driver, key: at}": "streaming.served.key: expected one of ride_id, fare, kilo",
    "served={group: driver, label: fare, stream: trips}": "streaming.served.stream: expected one",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_is_an_error_when_the_config_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    with pytest.raises(ConfigError, match=WRONG[wrong]):
        rides_config(tmp_path, monkeypatch, f"streaming.{wrong}")


def test_served_events_without_their_prediction_are_an_error_when_the_config_is_read(
    config: PipelineConfig,
) -> None:
    path = Path(config.schema_file).with_suffix(".yaml")
    path.write_text(path.read_text().replace(", prediction: double", ""))
    with pytest.raises(ConfigError, match=r"arm, version, prediction\. Missing: prediction"):
        load_config(path)


def test_a_metric_of_another_task_is_an_error_for_clicks() -> None:
    with pytest.raises(ConfigError, match=r"metrics of the task binary: .*Received: rmse"):
        load_config(
            "applications/ctr/configs/ctr-loop.yaml",
            ["streaming.online_rule.thresholds={rmse: {max: 1}}"],
        )


def test_a_config_that_does_not_say_what_became_of_events_cannot_be_evaluated(
    config: PipelineConfig,
) -> None:
    assert config.streaming is not None
    streaming = config.streaming.model_copy(update={"served": None})
    with pytest.raises(ConfigError, match=r"needs the section streaming\.served"):
        OnlineEvaluation(config.model_copy(update={"streaming": streaming}))


def test_a_task_without_online_metrics_is_an_error() -> None:
    with pytest.raises(ConfigError, match="judges the tasks binary, multiclass, regression"):
        online_task("ranking")
