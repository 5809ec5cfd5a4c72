"""Executed decisions are recorded even after a crash, and the page escapes its contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.errors import ComponentError
from components.pusher.release import Release, read_release, write_release
from metadata.reader import MetadataReader
from pipeline.config import PipelineConfig, load_config
from streaming.online_evaluation import act
from streaming.online_evaluation.act import DecisionExecutor
from streaming.online_evaluation.page import write_page
from streaming.online_evaluation.rule import PROMOTE, ROLLBACK, WAIT, Decision
from streaming.online_evaluation.served_rows import EventNames

pytestmark = pytest.mark.component

BEFORE = Release(7, canary=8)
HOUR = 474_000


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    """Returns a config with versions 7 (stable) and 8 (canary)."""
    places = [f"{key}={tmp_path}" for key in ("streaming.folder", "streaming.watched")]
    places += [f"run_root={tmp_path / 'runs'}", f"serving_root={tmp_path / 'served'}"]
    config = load_config("applications/ctr/configs/ctr-stream.yaml", places)
    for version in (7, 8):
        (config.serving_folder / str(version)).mkdir(parents=True)
    write_release(config.serving_folder, BEFORE)
    return config


def actor(config: PipelineConfig) -> DecisionExecutor:
    assert config.streaming is not None
    return DecisionExecutor(config, config.streaming.folder / "online")


def recorded(config: PipelineConfig) -> list[str]:
    store = MetadataReader.sqlite(config.metadata_path)
    return [execution.component for run in store.runs() for execution in run.components]


@pytest.mark.parametrize(
    ("what", "live", "kind"),
    [(PROMOTE, Release(8, previous=7), "Promotion"), (ROLLBACK, Release(7), "Rollback")],
)
def test_a_change_before_a_crash_is_recorded_by_the_next_process(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, what: str, live: Release, kind: str
) -> None:
    def dies(*_: object) -> int:
        raise ComponentError("ML Metadata does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(act, "record_in", dies)
        with pytest.raises(ComponentError, match="does not answer"):
            actor(config).act(Decision(what, "because", BEFORE), HOUR)
    assert read_release(config.serving_folder) == live
    assert actor(config).history() == []

    settled = actor(config).settle()
    assert settled is not None
    assert settled.kind == kind
    assert settled.switch is not None
    assert settled.switch.after == live
    assert settled.switch.withdrawn == ({} if what == PROMOTE else {8: "because"})
    assert recorded(config) == [kind]
    assert actor(config).history() == [{"what": what, "reason": "because", "hour": HOUR}]
    assert actor(config).settle() is None
    assert recorded(config) == [kind]


def test_a_decision_that_was_not_executed_is_not_recorded(config: PipelineConfig) -> None:
    changed = Decision(PROMOTE, "because", Release(6, canary=8))
    with pytest.raises(ComponentError, match="has changed meanwhile"):
        actor(config).act(changed, HOUR)
    assert actor(config).settle() is None
    assert actor(config).act(Decision(WAIT, "because", BEFORE), HOUR) is None
    assert not config.metadata_path.exists()


def test_the_page_escapes_foreign_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    titles = {"mean_label": bad, "auc": "AUC", "log_loss": "log loss", "calibration": "$a$ $"}
    values = {"mean_label": 0.1, "auc": None, "log_loss": 0.3, "calibration": 1.0}
    intervals = {
        "mean_label": [0.05, 0.15],
        "auc": None,
        "log_loss": [0.2, 0.4],
        "calibration": None,
    }
    served = {"arm": bad, "version": 8, "events": 10, "unlabelled": 1, "positives": 1}
    served |= {"values": values, "intervals": intervals}
    names = EventNames(bad, bad, bad, bad)
    far = {"feature": bad, "against": "serving", "value": 0.5, "threshold": 0.2, "drifted": True}
    switches = [{"what": "promote", "reason": bad, "hour": HOUR}]
    page = write_page(
        tmp_path, bad, titles, names, {HOUR: [served]}, {HOUR: {"distances": [far]}}, switches, bad
    ).read_text()
    assert "<script" not in page
    assert "<svg" in page
    assert "0.1000" in page
    assert "1 of 1" in page
    empty = write_page(
        tmp_path, "a", titles, names, {}, {}, [], "wait: nothing was pushed yet"
    ).read_text()
    assert "No model has served" in empty
