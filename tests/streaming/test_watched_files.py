"""Ingest of files in the watched folder, in the states that people and programs leave them."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from base.atomic_files import write_json
from base.errors import ComponentError
from pipeline.streaming_sections import Streaming
from streaming.accounts import accounts
from streaming.commands import main
from streaming.layout import Layout, read_json
from streaming.verify import verify
from streaming.watched_files import (
    CHANGED,
    WatchedFile,
    has_changed,
    list_files,
    reading_order,
    record,
    why_broken,
)
from tests.streaming.event_log import impression, put, settings, spans


def watched(streaming: Streaming, name: str) -> Path:
    assert streaming.watched is not None
    path = streaming.watched / "impressions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def line(name: str, minute: float = 1) -> str:
    return json.dumps(impression(name, minute)) + "\n"


def names(layout: Layout) -> list[str]:
    return sorted(row["impression_id"] for row in spans(layout, "impressions"))


def said(told: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Returns file name -> the reported reason."""
    return {Path(c["path"]).name: c["reason"] for what, c in told if what == "file"}


@pytest.mark.integration
def test_files_with_shuffled_modification_times(run, tmp_path: Path) -> None:
    """T2: no event is late, for any order of files and size of batches."""
    streaming = settings(tmp_path / "out", max_files_per_batch=4)
    hours = [*range(15)]
    random.Random(2).shuffle(hours)
    for age, hour in enumerate(hours):
        path = watched(streaming, f"{hour}.json")
        path.write_text("".join(line(f"{hour}-{n}", 60 * hour + n) for n in range(10)))
        os.utime(path, (1_700_000_000 - age * 60,) * 2)
    run(streaming)
    layout = Layout(streaming.folder)
    counted = accounts(layout)
    assert [h["late"] for h in counted["hours"]] == [0] * 15
    assert [h["state"] for h in counted["hours"]] == ["closed"] * 14 + ["open"]
    assert len(spans(layout, "impressions")) == 140
    assert verify(streaming).problems == []


@pytest.mark.integration
def test_an_old_modification_time_hides_no_file(run, tmp_path: Path) -> None:
    """T3: also a time before 1970."""
    streaming = settings(tmp_path / "out")
    watched(streaming, "new.json").write_text(line("new"))
    run(streaming)
    for name, when in (("old", 1_000_000_000), ("older", -5_000_000)):
        path = watched(streaming, f"{name}.json")
        path.write_text(line(name))
        os.utime(path, (when, when))
    run(streaming, finish=True)
    assert names(Layout(streaming.folder)) == ["new", "old", "older"]


@pytest.mark.integration
def test_a_file_that_changes_after_it_was_read_is_reported(run, tmp_path: Path) -> None:
    """T4: the next start and each `status` report it until the file is gone."""
    streaming = settings(tmp_path / "out")
    whole = line("a") + line("b") + line("c")
    path = watched(streaming, "half.json")
    path.write_text(whole[: len(line("a")) + 20])
    run(streaming)
    path.write_text(whole)
    told = run(streaming)
    assert said(told) == {"half.json": CHANGED}
    asked = ["status", "--config", "applications/ctr/configs/ctr-stream.yaml"]
    asked += ["--set", f"streaming.folder={streaming.folder}"]
    asked += ["--set", f"streaming.watched={streaming.watched}"]
    asked += ["--set", "streaming.hour_tables=false", "--set", "streaming.online_seconds=null"]
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 1
    assert "half.json: changed after it was read; its new contents are not read" in shown.output
    (problem,) = json.loads(CliRunner().invoke(main, [*asked, "--json"]).output)["problems"]
    assert "half.json" in problem

    path.rename(path.with_name("whole.json"))  # as the message advises
    run(streaming, finish=True)
    assert names(Layout(streaming.folder)) == ["a", "b", "c"]
    shown = CliRunner().invoke(main, asked)
    assert shown.exit_code == 0, shown.output
    assert "impressions: 5 read = 3 spans + 1 duplicates + 0 open + 0 late + 1 refused" in (
        shown.output
    )


@pytest.mark.integration
def test_a_file_that_was_replaced_or_touched(run, tmp_path: Path) -> None:
    """Only the contents count, not the time or the size."""
    streaming = settings(tmp_path / "out")
    for name in ("touched", "replaced", "gone"):
        watched(streaming, f"{name}.json").write_text(line(name[0]))
    run(streaming)
    os.utime(watched(streaming, "touched.json"), (1_000_000_000, 1_000_000_000))
    watched(streaming, "replaced.json").write_text(line("x"))
    watched(streaming, "gone.json").unlink()
    told = run(streaming)
    assert said(told) == {"replaced.json": CHANGED}
    assert not [what for what, _ in told if what == "batch"]


@pytest.mark.integration
def test_names_that_look_like_patterns_or_urls_are_read(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    odd = [
        "a[1]",
        "a*",
        "a?",
        "{a,b}",
        "a b",
        "a%20b",
        "a:b",
        "x:y/z",
        "a,b",
        "a#b",
        "a\\b",
        "ä",
        "h=1/x",
    ]
    for name in odd:
        watched(streaming, f"{name}.json").write_text(line(name))
    run(streaming, finish=True)
    assert names(Layout(streaming.folder)) == sorted(odd)


@pytest.mark.integration
def test_a_truncated_file_is_read_once_it_is_whole(run, tmp_path: Path) -> None:
    """It does not hold up other files."""
    streaming = settings(tmp_path / "out")
    whole = gzip.compress("".join(line(f"{n:05}", n / 100) for n in range(3000)).encode())
    watched(streaming, "a.json.gz").write_bytes(whole[: len(whole) // 2])
    put(streaming, "impressions", impression("b", 2), name="b")
    told = run(streaming)
    assert list(said(told)) == ["a.json.gz"]
    assert "it cannot be read to its end" in said(told)["a.json.gz"]
    assert verify(streaming).places["impressions"]["open"] == 1
    (problem,) = verify(streaming).problems
    assert "a.json.gz: it cannot be read to its end" in problem
    assert said(run(streaming)) == said(told)  # without a batch that fails
    told = run(streaming)
    assert not [what for what, _ in told if what == "batch"]
    watched(streaming, "a.json.gz").write_bytes(whole)
    run(streaming, finish=True)
    assert len(names(Layout(streaming.folder))) == 3001
    assert verify(streaming).problems == []


@pytest.mark.integration
def test_a_damaged_bz2_file_is_reported(run, tmp_path: Path) -> None:
    streaming = settings(tmp_path / "out")
    first, second = (bz2.compress(line(name).encode()) for name in ("a", "b"))
    watched(streaming, "a.json.bz2").write_bytes(first + b"\x00" + second[1:])
    put(streaming, "impressions", impression("c", 2), name="c")
    told = run(streaming)
    assert "it cannot be read to its end" in said(told)["a.json.bz2"]
    assert verify(streaming).places["impressions"]["open"] == 1
    watched(streaming, "a.json.bz2").write_bytes(first + second)
    run(streaming, finish=True)
    assert names(Layout(streaming.folder)) == ["a", "b", "c"]
    assert verify(streaming).problems == []


@pytest.mark.integration
def test_a_folder_of_an_earlier_version_is_an_error(run, tmp_path: Path) -> None:
    """Its manifests do not say which files were read, so these would be read again."""
    streaming = settings(tmp_path / "out")
    layout = Layout(streaming.folder)
    put(streaming, "impressions", impression("a", 1), name="1")
    run(streaming)
    manifest = read_json(layout.manifest(0))
    del manifest["files"]
    write_json(layout.manifest(0), manifest)
    with pytest.raises(ComponentError, match=r"earlier version .* into a new streaming\.folder"):
        run(streaming)


@pytest.mark.unit
def test_files_that_are_left_out_are_reported(tmp_path: Path) -> None:
    (tmp_path / "dangling.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "linked.json").symlink_to(tmp_path / "a.json")
    for name in ("a.json", "_b.json", "c.json.zst", "d.json._COPYING_", ".hidden.json", "f.GZ"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "_SUCCESS").touch()
    for folder in ("_temporary", "day"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "e.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe.json")
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.json")).write_text("{}")
    found = list_files(tmp_path)
    assert sorted(found.files) == ["_SUCCESS", "a.json", "day/e.json", "linked.json"]
    assert {path: reason.split(" (")[0] for path, reason in found.left_out.items()} == {
        "dangling.json": "the link leads nowhere",
        "loop/": "the link leads to a folder above it",
        "_b.json": "Spark reads no file whose name begins with _; rename it",
        "c.json.zst": "its compression is not supported; supported are .gz, .bz2 and .deflate",
        "d.json._COPYING_": "Hadoop is still copying it",
        "f.GZ": "Spark knows .gz in lower case only; rename it",
        "pipe.json": "it is not a regular file",
        "\udcff.json": "its name has bytes that Spark cannot read; rename it",
    }


@pytest.mark.unit
def test_a_file_without_read_permission_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text("{}")
    if os.geteuid() == 0:  # root may read every file
        monkeypatch.setattr(os, "access", lambda *_: False)
    else:
        (tmp_path / "a.json").chmod(0)
    assert list_files(tmp_path).left_out == {"a.json": "it cannot be read (permission denied)"}


@pytest.mark.unit
def test_names_are_sorted_with_digits_as_numbers() -> None:
    paths = ["2024-03-02/1.json", "2024-03-01/10.json", "2024-03-01/9.json", "a", "10"]
    assert sorted(paths, key=reading_order) == [
        "10",
        "2024-03-01/9.json",
        "2024-03-01/10.json",
        "2024-03-02/1.json",
        "a",
    ]


@pytest.mark.unit
def test_a_file_that_is_written_while_it_is_read_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("one")
    listed = WatchedFile(path.stat().st_size, path.stat().st_mtime_ns)
    assert not record(path, listed)["changed"]
    path.write_text("one, two")
    assert record(path, listed)["changed"]
    assert has_changed(path, listed, record(path, listed))
    path.unlink()
    assert record(path, listed)["changed"]


@pytest.mark.unit
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".deflate", ""])
def test_why_a_file_cannot_be_read_to_its_end(tmp_path: Path, suffix: str) -> None:
    import zlib

    text = b"text" * 1000
    packed = {
        ".gz": gzip.compress(text),
        ".bz2": bz2.compress(text),
        ".deflate": zlib.compress(text),
    }
    contents = packed.get(suffix, text)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(contents)
    assert why_broken(path) is None
    path.write_bytes(contents[:-9])
    assert (why_broken(path) is None) == (suffix == "")
    path.unlink()
    assert "No such file" in str(why_broken(path))
