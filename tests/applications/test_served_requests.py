"""Which logged requests count as served, and which errors of an application are not hidden."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pipeline.application import load_application
from pipeline.config import PipelineConfig
from serving.request_log.reader import Prediction
from streaming.online_evaluation.drift_watch import DriftWatch
from streaming.online_evaluation.served_examples import is_served
from streaming.watermark import HOUR_MS
from tests.streaming.test_drift import example, logged, page, write_log
from tests.streaming.test_drift_watch import HOURS, config, folder

__all__ = ["config", "folder"]  # fixtures
pytestmark = pytest.mark.component

APPLICATION = """
    from applications.movielens.application import build_examples as build_examples
    from applications.movielens.application import features as features
    from streaming.feedback.rejected import RequestLineError

    def events_of_request(line, key):
        if line["context"] == "malformed":
            raise RequestLineError("context: expected an order")
        return [{"order": line["context"]["order"]}] if line["context"] else []
"""


def test_only_malformed_lines_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the application would otherwise look like an hour without requests."""
    package = tmp_path / "orders"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "application.py").write_text(textwrap.dedent(APPLICATION))
    monkeypatch.syspath_prepend(tmp_path)
    counts = is_served(load_application("orders"))

    def served(context: object) -> bool:
        return counts(Prediction("r", 1, "stable", (), (), context, 5))

    assert [served({"order": 1}), served(None), served("malformed")] == [True, False, False]
    assert counts.malformed == 1
    with pytest.raises(KeyError, match="order"):
        served({"another": 1})
    assert counts.malformed == 1


def test_malformed_requests_are_counted_in_the_file_of_their_hour(
    config: PipelineConfig, folder: Path
) -> None:
    lines = [
        logged([example(1.0)], context, HOURS[0] * HOUR_MS + 5)
        for context in (page(1), page(2), page(3), None)  # two say more than was asked for
    ]
    write_log(folder / "requests", "2024-01-28/00", lines)
    watch = DriftWatch(config)
    assert watch.new_hours() == [*HOURS]
    watch.look(HOURS[0])
    watch.look(HOURS[1])
    assert [watch.results()[hour]["malformed_requests"] for hour in HOURS[:2]] == [2, 0]
    assert watch.results()[HOURS[0]]["was_served"]
