"""Compares the source files of two sides: `changed_files(before, after)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

from lineage.dataset import GONE, Dataset, Source


@dataclasses.dataclass(frozen=True)
class FileChange:
    """A source file that only one side read, or whose content differs."""

    source: str
    path: str
    change: Literal["added", "removed", "changed"]


def files_problem(before: Sequence[Dataset], after: Sequence[Dataset]) -> str | None:
    """Returns why the source files of two sides cannot be compared; None if they can."""
    if not before or not after:
        return "not recorded: no Examples of an ExampleGen are on one of the sides"
    for dataset in (*before, *after):
        if not dataset.is_ours:
            return f"not recorded: SparkExampleGen did not make Examples {dataset.examples.id}"
    for dataset in (*before, *after):
        if dataset.manifest_problem == GONE:
            return f"unknown: a manifest is gone, that of Examples {dataset.examples.id}"
        if dataset.manifest_problem:
            problem = dataset.manifest_problem
            return f"unknown: the manifest of Examples {dataset.examples.id}: {problem}"
    return None


def changed_files(before: Sequence[Dataset], after: Sequence[Dataset]) -> tuple[FileChange, ...]:
    """Returns the source files that differ between two sides, by the manifests."""
    ours, theirs = (
        _checksums(source for dataset in datasets for source in dataset.sources)
        for datasets in (before, after)
    )
    found = [FileChange(*file, "removed") for file in ours.keys() - theirs.keys()]
    found += [FileChange(*file, "added") for file in theirs.keys() - ours.keys()]
    found += [
        FileChange(*file, "changed")
        for file in ours.keys() & theirs.keys()
        if ours[file] != theirs[file]
    ]
    return tuple(sorted(found, key=lambda f: (f.source, f.path)))


def _checksums(sources: Iterable[Source]) -> dict[tuple[str, str], tuple[int, str]]:
    return {
        (source.name, file.path): (file.bytes, file.checksum)
        for source in sources
        for file in source.files
    }
