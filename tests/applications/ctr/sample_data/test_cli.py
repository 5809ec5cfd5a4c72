"""The command ends with one line, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from applications.sample_files import log_writer, output_folder

pytestmark = pytest.mark.unit


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "applications.ctr.sample_data", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_second_call_has_nothing_to_do(tmp_path):
    arguments = ["--out", tmp_path, "--impressions", 2000, "--hours", 2, "--bots", 0]
    first, second = run(*arguments), run(*arguments)
    assert first.returncode == second.returncode == 0
    assert "2,000 impressions" in first.stderr
    assert "nothing to do" in second.stderr
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert manifest["complete"]
    assert manifest["config"]["dirt"]["bots"] == 0


def test_help_has_an_example():
    assert "python -m applications.ctr.sample_data --out" in run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--hours", "0"], "hours is 0"),
        (["--start", "noon"], "2024-03-01T00"),
        (["--bots", "0.9"], "bots is 0.9"),
        (["--users", "1"], "users is 1"),
    ],
)
def test_a_wrong_option_ends_in_one_line(tmp_path, arguments, says):
    done = run("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_foreign_folder_ends_in_one_line(tmp_path):
    (tmp_path / "mine").touch()
    done = run("--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--overwrite" in done.stderr


def test_an_unwritable_folder_ends_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = run("--out", tmp_path / "file" / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "choose another --out" in done.stderr


def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(log_writer.pq, "write_table", full)
    with (
        pytest.raises(output_folder.OutputError, match="is full; free some space"),
        output_folder.readable_errors(tmp_path),
    ):
        log_writer.write_parquet(Path(tmp_path / "x.parquet"), None)
    assert list(tmp_path.iterdir()) == []
