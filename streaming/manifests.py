"""Manifests of batches: one file each while they are new, lines of one file once they are many.

A stream makes thousands of batches a day, and a folder of so many files is slow to list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base.atomic_files import whole_file
from base.errors import ComponentError

_PACK = "manifests.jsonl"
_MAX_FILES, _KEPT_FILES = 1_000, 100  # before packing and after it
_TRIES = 20


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Returns the manifests of all batches, in order, even while another process is packing.

    Args:
      folder: Folder of the batches.

    Raises:
      ComponentError: A manifest cannot be read.
    """
    for _ in range(_TRIES):
        try:
            # Files first, so that a manifest packed meanwhile is found in the pack.
            loose = {number: _read(path) for number, path in _loose(folder).items()}
        except FileNotFoundError:
            continue
        packed = {manifest["batch"]: manifest for manifest in _packed(folder)}
        return [manifest for _, manifest in sorted((packed | loose).items())]
    raise ComponentError(f"{folder}: manifests are removed while they are read; try again")


def read_newest(folder: Path) -> dict[str, Any] | None:
    """Returns the manifest of the last batch; None before the first."""
    loose = _loose(folder)
    if loose:
        return _read(loose[max(loose)])
    return next(iter(read_all(folder)[-1:]), None)


def pack(folder: Path, most: int = _MAX_FILES, stay: int = _KEPT_FILES) -> None:
    """Moves old manifests into one file if there are many. Only the writing process may call this.

    If it is killed half-way, the pack and the files both exist with the same contents.
    """
    packed = _packed_numbers(folder)
    end = max(packed, default=-1)
    loose = _loose(folder)
    for number in [n for n in loose if n in packed]:  # left by a killed process
        loose.pop(number).unlink()
    old: list[Path] = []
    while len(loose) - len(old) > stay and (path := loose.get(end + 1 + len(old))) is not None:
        old.append(path)  # stops at a gap, so that a missing manifest is still noticed
    if len(loose) <= most or not old:
        return
    with (
        whole_file(folder / _PACK, durable=True) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        if (folder / _PACK).exists():
            file.write((folder / _PACK).read_text("utf-8"))
        for path in old:
            file.write(json.dumps(_read(path), separators=(",", ":")) + "\n")
    for path in old:
        path.unlink()


def _loose(folder: Path) -> dict[int, Path]:
    """Returns number -> file, ascending."""
    found = {}
    for path in folder.iterdir() if folder.exists() else ():
        if path.suffix == ".json" and path.stem.isdecimal():
            found[int(path.stem)] = path
    return dict(sorted(found.items()))


def _packed(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / _PACK
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield dict(json.loads(line))


def _packed_numbers(folder: Path) -> set[int]:
    return {manifest["batch"] for manifest in _packed(folder)}


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))
