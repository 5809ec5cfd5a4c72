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
from pipeline.config import PipelineConfig, load_config
from streaming.commands import main
from streaming.layout import Layout
from streaming.online_evaluation.served_rows import ServedRows

pytestmark = pytest.mark.component

CONFIG = "applications/fraud/configs/fraud-stream.yaml"
HOUR, DAY = 474_000, 24
RULE = "{min_events: 200, thresholds: {calibration: {min: 0.7, max: 1.4}, mean_label: {min: 0.2}}}"
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


def test_lineage_shows_the_late_outcomes_once_they_are_there(config: PipelineConfig) -> None:
    close(config, HOUR, payments(1_000, said=1.0, seed=3))
    complete(config, "decisions", HOUR + 1 + DAY)
    assert invoke(config).exit_code == 0
    complete(config, "chargebacks", HOUR + 1 + 45 * DAY)
    assert invoke(config).exit_code == 0
    store = MetadataReader.sqlite(config.metadata_path)
    kinds = [e.properties for e in store.executions_of_type("streaming.OnlineEvaluation")]
    assert len(kinds) == 2
    assert served(store) == []  # version 7 was not pushed by a recorded run


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("{group: card, outcome: decisions, label: frad}", "served.label: .*Did you mean fraud"),
        ("{group: card, outcome: decision}", "served.outcome: .*Did you mean decisions"),
        ("{group: card, outcome: decisions, later: decisions}", "another stream than `outcome`"),
        ("{group: card, outcome: decisions, later: payments}", "served.later: expected one of"),
        ("{group: card, key: payment_id, label: version}", "name only one of them"),
    ],
)
def test_a_wrong_judge_is_an_error_when_the_config_is_read(
    tmp_path: Path, wrong: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_config(CONFIG, [*settings(tmp_path), f"streaming.served={wrong}"])
