"""Served events are judged by early decisions on some of them, and at last by late outcomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from base.atomic_files import write_json
from base.durations import HOUR_MS
from base.section import ConfigError
from components.pusher.release import Release, read_release, write_release
from lineage.served import served
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact
from pipeline.config import PipelineConfig, load_config
from streaming.commands import main
from streaming.layout import Layout
from streaming.online_evaluation.outcome_labels import OutcomeLabels
from streaming.online_evaluation.served_rows import ServedRows

pytestmark = pytest.mark.component

CONFIG = "applications/fraud/configs/fraud-stream.yaml"
HOUR, DAY = 474_000, 24
RULE = "{min_events: 100, thresholds: {calibration: {min: 0.7, max: 1.4}, mean_label: {min: 0.2}}}"
SERVED = "{group: card, outcome: decisions, label: fraud, later: chargebacks}"


def settings(folder: Path) -> list[str]:
    places = [f"{key}={folder}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={folder / 'runs'}", f"serving_root={folder / 'served'}"]
    return [*places, f"streaming.online_rule={RULE}", f"streaming.served={SERVED}"]


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a config with versions 7 (stable, after 6)."""
    found = load_config(CONFIG, settings(tmp_path))
    for version in (6, 7):
        (found.serving_folder / str(version)).mkdir(parents=True)
    write_release(found.serving_folder, Release(7, previous=6))
    return found


def invoke(config: PipelineConfig, *flags: str) -> Result:
    assert config.streaming is not None
    options = [part for one in settings(config.streaming.folder) for part in ("--set", one)]
    command = ["evaluate", "--config", CONFIG, *options, *flags]
    return CliRunner().invoke(main, command, env={"COLUMNS": "200"})


def payments(count: int, said: float, seed: int) -> pd.DataFrame:
    """Returns payments whose predictions are `said` times the truth, with what became of them."""
    chance = np.random.default_rng(seed)
    truth = chance.beta(0.3, 3, count)
    fraud = chance.random(count) < truth
    return pd.DataFrame(
        {
            "payment_id": [f"{seed}-{number}" for number in range(count)],
            "card": [f"k{number % 300}" for number in range(count)],
            "arm": "stable",
            "version": 7,
            "probability": np.minimum(1.0, truth * said),
            "fraud": fraud,
            "reviewed": truth > np.quantile(truth, 0.8),
        }
    )


def close(config: PipelineConfig, hour: int, rows: pd.DataFrame) -> None:
    """Writes a closed hour of payments with their outcomes in the same hour, as ingest would."""
    assert config.streaming is not None
    layout = Layout(config.streaming.folder)
    begin = hour * HOUR_MS
    rows = rows.assign(timestamp_ms=begin)
    decided = rows[rows["reviewed"]].assign(timestamp_ms=begin + 60_000)
    # A second decision does not count, nor does one about a payment that nobody knows.
    again = decided.head(5).assign(timestamp_ms=begin + 90_000, fraud=lambda one: ~one["fraud"])
    unknown = decided.head(1).assign(payment_id="unknown")
    decisions = pd.concat([again, unknown, decided])[["payment_id", "fraud", "timestamp_ms"]]
    tables = {
        "payments": rows.drop(columns=["fraud", "reviewed"]),
        "decisions": decisions.assign(fraud=decisions["fraud"].astype(int)),
        "chargebacks": rows[rows["fraud"]][["payment_id"]].assign(timestamp_ms=begin + 5),
    }
    for stream, frame in tables.items():
        layout.span(stream, hour).mkdir(parents=True)
        frame.to_parquet(layout.span(stream, hour) / "part-0.parquet")
    streams = {stream: {"rows": len(frame)} for stream, frame in tables.items()}
    write_json(layout.marker(hour), {"hour": hour, "version": 1, "streams": streams})


def complete(config: PipelineConfig, stream: str, hour: int) -> None:
    assert config.streaming is not None
    path = Layout(config.streaming.folder).index(stream)
    write_json(path, {"complete_ms": hour * HOUR_MS, "spans": []})


def test_decisions_roll_back_long_before_chargebacks_are_complete(config: PipelineConfig) -> None:
    rows = payments(3_000, said=3.0, seed=1)
    close(config, HOUR, rows)
    waiting = invoke(config, "--act")
    assert waiting.exit_code == 0, waiting.output
    assert read_release(config.serving_folder) == Release(7, previous=6)  # decisions may still come

    complete(config, "decisions", HOUR + 1 + DAY)
    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert "rollback: stable 7: calibration" in done.output
    assert read_release(config.serving_folder) == Release(6)
    reviewed = int(rows["reviewed"].sum())
    assert f" {reviewed:,} " in done.output
    assert "chargebacks" not in done.output
    page = (Path(str(config.streaming and config.streaming.folder)) / "online.html").read_text()
    assert "The chargebacks of no served hour are complete yet" in page

    complete(config, "chargebacks", HOUR + 1 + 45 * DAY)
    later = invoke(config, "--act")
    assert later.exit_code == 0, later.output
    assert "by chargebacks, which are complete now:" in later.output
    assert " 3,000 " in later.output
    assert read_release(config.serving_folder) == Release(6)  # nothing is decided by them
    page = (Path(str(config.streaming and config.streaming.folder)) / "online.html").read_text()
    assert "By chargebacks, when they are complete" in page
    assert '<td class="n">3,000' in page
    assert invoke(config).output.count("3,000") == 0  # measured once


def test_labels_are_the_first_decision_and_at_last_whether_a_chargeback_followed(
    config: PipelineConfig,
) -> None:
    rows = payments(500, said=1.0, seed=2)
    close(config, HOUR, rows)
    complete(config, "decisions", HOUR + 1 + DAY)
    complete(config, "chargebacks", HOUR + 1 + 45 * DAY)
    early = ServedRows(config)
    expected = rows[rows["reviewed"]]
    found = early.read([*early.states()])
    assert [*found["label"]] == [*expected["fraud"].astype(float)]
    assert early.names.events == "decisions"
    assert early.names.positives == "fraud"
    late = ServedRows(config, at_last=True)
    assert [*late.read([*late.states()])["label"]] == [*rows["fraud"].astype(float)]
    assert (late.names.events, late.names.positives) == ("payments", "chargebacks")


def test_a_rule_looks_at_hours_that_are_complete_however_late_that_is(
    config: PipelineConfig,
) -> None:
    """The newest 24 hours never are, since decisions have a day."""
    hours = 40
    for number in range(hours):
        close(config, HOUR + number, payments(100, said=4.0, seed=number))
    complete(config, "decisions", HOUR + hours)
    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert "rollback: stable 7: calibration" in done.output
    assert "24 of the last hours wait for labels" in done.output


def test_an_hour_without_the_labels_column_is_left_out_and_named(config: PipelineConfig) -> None:
    """Hours that were closed before the column was declared do not have it."""
    for number in range(2):
        close(config, HOUR + number, payments(1_000, said=3.0, seed=number))
    assert config.streaming is not None
    path = Layout(config.streaming.folder).span("decisions", HOUR) / "part-0.parquet"
    pd.read_parquet(path).drop(columns="fraud").to_parquet(path)
    complete(config, "decisions", HOUR + 2 + DAY)
    done = invoke(config, "--act")
    assert done.exit_code == 0, done.output
    assert "is left out: " in done.output
    assert "expected the column fraud of decisions in the hour 2024-01-28 00h" in done.output
    # The hour after it leads to no such hour, and is judged.
    assert "rollback: stable 7: calibration" in done.output


def test_large_ids_are_told_apart_beside_a_null(config: PipelineConfig) -> None:
    close(config, HOUR, payments(50, said=1.0, seed=4))
    complete(config, "decisions", HOUR + 1 + DAY)
    assert config.streaming is not None
    path = Layout(config.streaming.folder).span("decisions", HOUR) / "part-0.parquet"
    begin = HOUR * HOUR_MS
    decisions = pd.DataFrame(
        {
            "payment_id": pd.array([2**60 + 1, None], "Int64"),
            "fraud": [1, 1],
            "timestamp_ms": [begin + 1, begin + 1],
        }
    )
    decisions.to_parquet(path)
    labels = OutcomeLabels(config.streaming, "decisions", "fraud")
    ids = pd.Series([2**60, 2**60 + 1], dtype=object)
    found = labels.read(HOUR, ids, pd.Series([begin, begin]))
    assert np.isnan(found[0])
    assert found[1] == 1


def test_lineage_has_both_judgements_of_an_hour_apart(config: PipelineConfig) -> None:
    for number in range(2):
        close(config, HOUR + number, payments(1_000, said=1.0, seed=number))
    complete(config, "decisions", HOUR + 2 + DAY)
    writer = MetadataWriter.connect(config.metadata_connection, config.name)
    destination = str(config.serving_folder.resolve() / "7")
    pushed = NewArtifact(
        "PushedModel",
        destination,
        {"pushed": 1, "pushed_version": "7", "pushed_destination": destination},
    )
    writer.record("Pusher", {}, inputs=[], outputs=[("pushed_model", pushed)], name="push")
    assert invoke(config).exit_code == 0
    complete(config, "chargebacks", HOUR + 1 + 45 * DAY)  # of the first hour only
    assert invoke(config).exit_code == 0
    (model,) = served(MetadataReader.sqlite(config.metadata_path))
    assert [(one.hour, next(iter(one.counts))) for one in model.hours] == [
        ("2024-01-28 00h", "decisions"),
        ("2024-01-28 00h", "payments"),
        ("2024-01-28 01h", "decisions"),
    ]
    assert (model.counts["payments"], model.counts["decisions"]) == (1_000, 400)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("{group: card, outcome: decisions, label: frad}", "served.label: .*Did you mean fraud"),
        ("{group: card, outcome: decision}", "served.outcome: .*Did you mean decisions"),
        ("{group: card, outcome: decisions, later: decisions}", "another stream than `outcome`"),
        ("{group: card, outcome: decisions, later: payments}", "served.later: expected one of"),
        ("{group: card, key: payment_id, label: version}", "name only one of them"),
        ("{group: card, later: chargebacks}", "events are judged by chargebacks already"),
    ],
)
def test_a_wrong_judge_is_an_error_when_the_config_is_read(
    tmp_path: Path, wrong: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(CONFIG, [*settings(tmp_path), f"streaming.served={wrong}"])
