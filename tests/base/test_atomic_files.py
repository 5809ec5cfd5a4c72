"""A file or folder appears whole or not at all: kills, full disks and several writers."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from base.atomic_files import (
    move_durably,
    partial_of,
    publish_folder,
    whole_file,
    whole_folder,
    write_bytes,
    write_json,
    write_text,
)
from tests.base.writing_process import NAME, WRITE
from tests.product import ROOT

pytestmark = pytest.mark.unit

OLD = "old"
FOLDERS = ("folder", "published folder")


def write_killed_before(way: str, folder: Path, step: int) -> bool:
    """Returns whether the writing process was killed before it had ended."""
    command = [sys.executable, "-B", "-m", "tests.base.writing_process", way, str(folder)]
    done = subprocess.run([*command, str(step)], check=False, cwd=ROOT)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


def contents(path: Path) -> Any:
    """Returns the contents at a path; None if it does not exist."""
    if path.is_dir():
        return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}
    if not path.exists():
        return None
    if path.read_bytes().startswith(b"SQLite"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute("select text from rows").fetchall()
    return path.read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("way", WRITE)
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, way: str) -> None:
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    assert not write_killed_before(way, undisturbed, -1)
    new = contents(undisturbed / NAME)
    step, seen = 0, []
    while True:
        folder = tmp_path / str(step)
        folder.mkdir()
        if way not in FOLDERS:
            (folder / NAME).write_text(OLD)
        old = contents(folder / NAME)
        if not write_killed_before(way, folder, step):
            break
        seen.append(contents(folder / NAME) == new)
        assert seen[-1] or contents(folder / NAME) == old, f"step {step}"
        if not seen[-1] or way not in FOLDERS:  # a folder is never replaced
            write_killed_before(way, folder, -1)
        assert contents(folder / NAME) == new, f"step {step}"
        if way != "one of many writers":  # what a killed one has left is nobody else's to remove
            assert names(folder) == [NAME], f"step {step}"
        step += 1
    assert seen == sorted(seen)  # from one step on it is the new
    assert step >= 3


@pytest.mark.parametrize("options", [{}, {"durable": True}, {"many_writers": True}])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool]
) -> None:
    path, write = tmp_path / "file", Path.write_bytes
    path.write_text(OLD)

    def full(self: Path, content: bytes) -> int:
        write(self, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new text", **options)
    assert path.read_text() == OLD
    assert names(tmp_path) == ["file"]


def test_contents_that_cannot_be_synced_do_not_replace_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text(OLD)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new", durable=True)
    assert path.read_text() == OLD
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text(OLD)
    with pytest.raises(error), whole_file(path) as partial:
        partial.write_text("half")
        raise error
    with pytest.raises(error), whole_folder(tmp_path / "folder") as partial:
        (partial / "part").write_text("half")
        raise error
    assert path.read_text() == OLD
    assert names(tmp_path) == ["file"]


def test_readers_of_a_file_with_many_writers_see_one_of_them_whole(tmp_path: Path) -> None:
    path, ended = tmp_path / "file", threading.Event()
    texts = {f"{number}" * 200_000 for number in range(4)}
    write_text(path, "0" * 200_000)
    failed: list[BaseException] = []
    torn: list[str] = []

    def write(text: str) -> None:
        try:
            for _ in range(50):
                write_text(path, text, many_writers=True)
        except BaseException as error:
            failed.append(error)

    def read() -> None:
        while not ended.is_set():
            if (found := path.read_text()) not in texts:
                torn.append(found[:10])

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert failed == []
    assert torn == []
    assert names(tmp_path) == ["file"]


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that gets the name of all that is synced or renamed from now on."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    return done


def test_a_durable_file_is_synced_before_the_rename_and_its_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = synced(monkeypatch)
    write_text(tmp_path / "folder" / "file", "new", durable=True)
    assert done == ["fsync .file-partial", "rename .file-partial", "fsync folder"]
    done.clear()
    write_text(tmp_path / "folder" / "file", "new")
    assert done == ["rename .file-partial"]


def test_a_published_folder_is_synced_with_all_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = tmp_path / "staged"
    (staged / "below").mkdir(parents=True)
    (staged / "below" / "file").write_text("new")
    done = synced(monkeypatch)
    publish_folder(staged, tmp_path / "parent" / "target")
    assert done == ["fsync staged", "fsync below", "fsync file", "rename staged", "fsync parent"]
    done.clear()
    move_durably(tmp_path / "parent" / "target", tmp_path / "moved")
    assert done == ["rename target", f"fsync {tmp_path.name}"]


def test_what_is_published_is_never_replaced(tmp_path: Path) -> None:
    target, staged = tmp_path / "target", tmp_path / "staged"
    for folder in (target, staged):
        folder.mkdir()
        (folder / folder.name).write_text("")
    with pytest.raises(OSError, match="not empty"):
        publish_folder(staged, target)
    with pytest.raises(OSError, match="not empty"), whole_folder(target):
        pass
    assert names(target) == ["target"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"


def test_the_hidden_name_matches_no_pattern_of_a_reader(tmp_path: Path) -> None:
    """`Path.glob` finds hidden files, too."""
    with whole_file(tmp_path / "file.json.gz") as partial:
        partial.write_bytes(b"half")
        assert partial == partial_of(tmp_path / "file.json.gz")
        assert list(tmp_path.glob("*.json.gz")) == []
        assert partial.name.startswith(".")


def test_a_link_that_lies_under_the_hidden_name_is_not_followed(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "file"
    elsewhere.write_text(OLD)
    partial_of(path).symlink_to(elsewhere)
    write_text(path, "new")
    assert elsewhere.read_text() == OLD
    assert not path.is_symlink()


def test_json_is_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "file", {"name": "Zoë"})
    assert (tmp_path / "file").read_text() == '{\n  "name": "Zoë"\n}\n'


def test_json_keeps_half_a_character(tmp_path: Path) -> None:
    """A path on Linux may hold any bytes; Python reads those that are no UTF-8 as halves."""
    content = {"path": b"caf\xe9".decode("utf-8", "surrogateescape"), "text": "\\udce9"}
    write_json(tmp_path / "file", content)
    assert json.loads((tmp_path / "file").read_text("utf-8")) == content
