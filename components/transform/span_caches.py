"""Reads and joins TensorFlow Transform's analyzer caches.

A cache has one folder per analyzed dataset. The folder has MANIFEST, a pickled dict from the key of
an analyzer to a number, and the analyzer's results in `NUMBER-00000-of-00001.gz`
(tensorflow_transform/beam/analyzer_cache.py).
"""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MANIFEST, _METADATA = "MANIFEST", "METADATA"
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\..+)?")


class _Plain(pickle.Unpickler):
    """Reads only dicts, bytes and numbers, so that a file cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):  # how bytes are written in protocol 0
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} in a manifest")


def read_manifest(dataset: Path) -> dict[bytes, int]:
    """Returns key of an analyzer -> number of its files; empty if the manifest is unreadable."""
    try:
        found = _Plain(io.BytesIO((dataset / _MANIFEST).read_bytes())).load()
    except Exception:  # a damaged pickle raises nearly anything; TFT treats it as missing, too
        return {}
    return found if isinstance(found, dict) else {}


def usable(datasets: Sequence[Path | None]) -> list[bool]:
    """Returns which datasets have all analyzers of the last one, and so its preprocessing."""
    manifests = [read_manifest(one) if one else {} for one in datasets]
    wanted: set[bytes] = next((set(m) for m in reversed(manifests) if m), set())
    return [bool(manifest) and wanted <= set(manifest) for manifest in manifests]


def join(datasets: Sequence[Path], joined: Path) -> None:
    """Joins several datasets to one.

    Args:
      datasets: Folders of `usable` datasets.
      joined: Folder to create.
    """
    manifests = [read_manifest(one) for one in datasets]
    wanted = sorted(set.intersection(*(set(manifest) for manifest in manifests)))
    joined.mkdir(parents=True)
    for number, key in enumerate(wanted):
        files = [
            file
            for dataset, manifest in zip(datasets, manifests, strict=True)
            for file in _shards(dataset, str(manifest[key]))
        ]
        _link(files, joined, str(number))
    _link([file for one in datasets for file in _shards(one, _METADATA)], joined, _METADATA)
    manifest = {key: number for number, key in enumerate(wanted)}
    (joined / _MANIFEST).write_bytes(pickle.dumps(manifest, protocol=0))


def _shards(dataset: Path, name: str) -> list[Path]:
    found = ((_SHARD.fullmatch(file.name), file) for file in dataset.iterdir())
    return sorted(file for match, file in found if match and match.group(1) == name)


def _link(files: list[Path], folder: Path, name: str) -> None:
    for number, file in enumerate(files):
        match = _SHARD.fullmatch(file.name)
        assert match is not None
        ending = match.group(2) or ""
        target = folder / f"{name}-{number:05d}-of-{len(files):05d}{ending}"
        try:
            os.link(file, target)
        except OSError:  # another file system
            shutil.copyfile(file, target)
