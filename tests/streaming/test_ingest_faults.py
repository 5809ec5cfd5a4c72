"""Ingest loses no event when it is killed between any two steps."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.streaming_sections import Streaming
from streaming.layout import Layout
from tests.streaming import event_log as log
from tests.streaming.event_log import STREAMS, settings

CHILD = Path(__file__).with_name("killed_ingest.py")


def run(streaming: Streaming, folder: Path, step: int = 0) -> int:
    """Runs ingest in a process, and returns its exit status."""
    path = folder / "settings.json"
    path.write_text(streaming.model_dump_json(), "utf-8")
    done = subprocess.run(
        [sys.executable, str(CHILD), str(path), str(step)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stdout[-3000:]
    return done.returncode


def contents(layout: Layout) -> dict[str, list[str]]:
    """Returns file -> sorted rows of all spans."""
    return {
        f"{stream}/{path.parent.relative_to(layout.folder)}": sorted(
            map(str, pq.ParquetFile(path).read().to_pylist())
        )
        for stream in STREAMS
        for path in (layout.folder / "spans" / stream).rglob("part-*.parquet")
    }


def kill_storm(tmp_path: Path, dirty_log: Path, steps: list[int]) -> None:
    """Kills the same ingest once at each step, then lets it finish and compares the result."""
    quiet = settings(tmp_path / "quiet", watched=dirty_log, max_files_per_batch=3)
    assert run(quiet, tmp_path) == 0
    stormy = settings(tmp_path / "stormy", watched=dirty_log, max_files_per_batch=3)
    killed = sum(run(stormy, tmp_path, step) == -signal.SIGKILL for step in steps)
    assert killed == len(steps)
    assert run(stormy, tmp_path) == 0
    found = log.assert_every_event_is_there(Layout(stormy.folder), dirty_log)
    assert found == log.assert_every_event_is_there(Layout(quiet.folder), dirty_log)
    assert contents(Layout(stormy.folder)) == contents(Layout(quiet.folder))


@pytest.mark.integration
def test_killed_between_steps(tmp_path: Path, dirty_log: Path) -> None:
    kill_storm(tmp_path, dirty_log, [12])


@pytest.mark.slow
def test_killed_between_every_two_steps(tmp_path: Path, dirty_log: Path) -> None:
    """Each run is killed one step later than the one before, counted from its start."""
    kill_storm(tmp_path, dirty_log, list(range(2, 26)))
