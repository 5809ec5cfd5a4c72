"""Repairs of Spark's checkpoint after a query that ended in the middle of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming.checkpoint import settle_batches

pytestmark = pytest.mark.unit


def checkpoint(folder: Path, planned: int, committed: int) -> Path:
    for kind, count in (("offsets", planned), ("commits", committed)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            (folder / kind / str(number)).write_text(f"v1\n{kind}")
            (folder / kind / f".{number}.crc").write_text("crc")
    return folder


def files(folder: Path, kind: str) -> list[str]:
    return sorted(path.name for path in (folder / kind).iterdir())


def test_a_batch_without_manifest_is_removed(tmp_path: Path) -> None:
    settle_batches(checkpoint(tmp_path, planned=3, committed=2), landed=1)
    assert files(tmp_path, "offsets") == [".0.crc", ".1.crc", "0", "1"]
    assert files(tmp_path, "commits") == [".0.crc", ".1.crc", "0", "1"]


def test_a_batch_with_manifest_is_committed(tmp_path: Path) -> None:
    settle_batches(checkpoint(tmp_path, planned=3, committed=2), landed=2)
    assert files(tmp_path, "offsets") == [".0.crc", ".1.crc", ".2.crc", "0", "1", "2"]
    assert (tmp_path / "commits" / "2").read_text() == "v1\ncommits"


def test_the_first_batch_is_committed_or_removed(tmp_path: Path) -> None:
    settle_batches(checkpoint(tmp_path / "landed", planned=1, committed=0), landed=0)
    assert (tmp_path / "landed" / "commits" / "0").read_text().startswith("v1\n{")
    settle_batches(checkpoint(tmp_path / "not", planned=1, committed=0), landed=-1)
    assert files(tmp_path / "not", "offsets") == []


def test_a_complete_checkpoint_is_not_changed(tmp_path: Path) -> None:
    settle_batches(tmp_path / "nowhere", landed=-1)
    settle_batches(checkpoint(tmp_path, planned=2, committed=2), landed=1)
    assert files(tmp_path, "offsets") == [".0.crc", ".1.crc", "0", "1"]
