"""A replay is there whole or not at all: processes that are killed, a disk that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.spark_io import killed_replay
from tests.spark_io.job_runs import forget_that_locks_are_young, wait_until
from tests.spark_io.replay_runs import (
    COMMAND,
    COOLER,
    GOOD,
    HOT,
    MENDED,
    Run,
    one_line,
    rows,
    shell,
    tree,
    write_lines,
)

pytestmark = pytest.mark.component


def test_a_kill_at_any_step_leaves_whole_versions_and_a_rerun_finishes(
    unchecked: None, tmp_path: Path
) -> None:
    killed_replay.finished_run(tmp_path / "whole")[0].apply(tmp_path / "whole" / "rows.jsonl")
    whole = visible(tmp_path / "whole")
    assert len(whole) == 12
    done = subprocess.run(
        [sys.executable, killed_replay.__file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    steps = int(done.stdout)
    assert steps > 20
    seen = set()
    for step in range(1, steps + 1):
        base = tmp_path / f"{step}"
        there = visible(base)
        new = {path.split("/")[0] for path in there if "/v2/" in path}
        assert there == {p: c for p, c in whole.items() if "/v1/" in p or p.split("/")[0] in new}
        seen.add(len(new))

        for span in killed_replay.SPANS:
            forget_that_locks_are_young(base / "readings" / span)
        Run(base, [], length=2).apply(base / "rows.jsonl")
        assert visible(base) == whole, f"step {step}"
        left = [path.name for path in base.glob("readings/*/.*")]
        assert left == [], f"step {step}"
    assert seen == {0, 1, 2}


def test_the_command_killed_between_two_spans_is_given_again(tmp_path: Path) -> None:
    """A real process, and what Spark it had is gone as well."""
    run, repaired = killed_replay.finished_run(tmp_path, more_rows=300_000)
    words = [*COMMAND, "apply", str(run.examples), "--source", "readings"]
    words += ["--rows", str(repaired)]
    first, second = (tmp_path / "readings" / span / "v2" for span in killed_replay.SPANS)
    process = psutil.Popen(words, env=shell(), stdout=subprocess.DEVNULL)
    started = wait_until(lambda: process.children(recursive=True))
    wait_until(first.exists)
    process.kill()
    process.wait()
    assert psutil.wait_procs(started, timeout=15)[1] == []
    assert not second.exists()
    assert Counter(rows(first)) == Counter([*GOOD, MENDED, COOLER])

    for span in killed_replay.SPANS:
        forget_that_locks_are_young(tmp_path / "readings" / span)
    again = subprocess.run(words, env=shell(), check=True, capture_output=True, text=True)
    output = again.stdout
    assert f"span 7, {first}: there already" in output
    assert f"span 8, {second}: written" in output
    assert "version 2: 300,011 rows = 300,010 kept + 1 repaired" in output
    assert sum(1 for row in rows(second) if row == COOLER) == 1
    assert [path.name for path in tmp_path.glob("readings/*/.*")] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KiB (needs root, as in our containers and CI)."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_nothing_and_a_rerun_is_right(unchecked: None, small_disk: Path) -> None:
    v1 = small_disk / "readings" / "span-7" / "v1"
    write_lines(v1 / "a.json", [HOT, *GOOD * 350])
    run = Run(small_disk, [("too_hot", HOT)]).publish()
    repaired = run.export({HOT: COOLER})
    before = tree(small_disk)
    assert "the disk is full" in one_line(run.apply(repaired, code=1))
    assert tree(small_disk) == before
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    run.apply(repaired)
    assert rows(v1.with_name("v2")) == [*GOOD * 350, COOLER]


def visible(base: Path) -> dict[str, bytes]:
    """What a source may read, and the markers."""
    found = tree(base / "readings")
    return {path: content for path, content in found.items() if path.split("/")[1][0] != "."}
