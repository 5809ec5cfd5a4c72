"""Packing manifests into one file keeps their contents."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from base.atomic_files import write_json
from streaming.layout import Layout
from streaming.manifests import pack, read_all, read_newest

pytestmark = pytest.mark.unit


def write(layout: Layout, first: int, last: int) -> None:
    layout.batches.mkdir(parents=True, exist_ok=True)
    for number in range(first, last):
        write_json(layout.manifest(number), {"batch": number, "rows": [], "watermark_ms": number})


def files(layout: Layout) -> list[str]:
    names = (path.name for path in layout.batches.glob("[0-9]*.json"))
    return sorted(names, key=lambda name: (len(name), name))


def test_packing_keeps_all_manifests(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.manifests() == []
    assert layout.watermark_ms() is None
    write(layout, 0, 25)
    before = layout.manifests()
    pack(layout.batches, most=30, stay=5)
    assert len(files(layout)) == 25
    pack(layout.batches, most=20, stay=5)
    assert files(layout) == [f"{number}.json" for number in range(20, 25)]
    assert layout.manifests() == before
    assert layout.watermark_ms() == 24
    write(layout, 25, 60)
    pack(layout.batches, most=20, stay=5)
    assert [one["batch"] for one in read_all(layout.batches)] == [*range(60)]
    assert len(files(layout)) == 5
    newest = read_newest(layout.batches)
    assert newest is not None
    assert newest["batch"] == 59


def test_a_kill_between_pack_and_removal_counts_no_manifest_twice(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write(layout, 0, 10)
    pack(layout.batches, most=5, stay=2)
    write(layout, 0, 8)  # as if they had not been removed
    assert [one["batch"] for one in layout.manifests()] == [*range(10)]
    pack(layout.batches, most=5, stay=2)
    assert files(layout) == ["8.json", "9.json"]
    assert [one["batch"] for one in layout.manifests()] == [*range(10)]


def test_packing_stops_at_a_missing_manifest(tmp_path: Path) -> None:
    """`status` and ingest report the gap."""
    layout = Layout(tmp_path)
    write(layout, 0, 20)
    layout.manifest(6).unlink()
    pack(layout.batches, most=5, stay=2)
    assert [one["batch"] for one in layout.manifests()] == [n for n in range(20) if n != 6]
    text = (layout.batches / "manifests.jsonl").read_text()
    assert [json.loads(line)["batch"] for line in text.splitlines()] == [*range(6)]


def test_a_reader_sees_all_manifests_during_packing(tmp_path: Path) -> None:
    layout, ends = Layout(tmp_path), threading.Event()
    write(layout, 0, 50)
    wrong: list[int] = []

    def read() -> None:
        while not ends.is_set():
            found = [one["batch"] for one in read_all(layout.batches)]
            if found != [*range(len(found))] or len(found) < 50:
                wrong.append(len(found))

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(50, 400):
        write(layout, number, number + 1)
        pack(layout.batches, most=8, stay=3)
    ends.set()
    thread.join()
    assert wrong == []
