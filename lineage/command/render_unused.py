"""Renders what could be deleted: `python -m lineage gc`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table

from lineage.command.render import plain, table
from lineage.text import size
from lineage.unused import StoredArtifact, UnusedArtifacts


def unused_tables(found: UnusedArtifacts, *, everything: bool = False) -> RenderableType:
    """Renders sums by component, and every artifact if `everything` is set."""
    parts: list[RenderableType] = []
    if everything and (found.unused or found.kept):
        parts += [_artifacts(sorted([*found.unused, *found.kept], key=lambda o: o.artifact.id)), ""]
    if found.unused or found.kept:
        parts += [_sums(found), ""]
    if found.unused:
        parts.append(
            plain(
                f"{len(found.unused):,} artifacts with {size(found.bytes)} are unused; "
                "nothing was deleted: --delete does it"
            )
        )
    else:
        parts.append(plain("nothing is unused"))
    if found.elsewhere:
        parts.append(
            plain(
                f"{found.elsewhere:,} artifacts are not looked at: their folder is not on this "
                "machine, not recorded, or not where TFX puts outputs",
                "dim",
            )
        )
    if found.foreign:
        parts.append(
            plain(
                f"{found.foreign:,} artifacts are not looked at: SparkExampleGen is not in their "
                "pipeline, so what still needs them is not known",
                "dim",
            )
        )
    return Group(*parts)


def _sums(found: UnusedArtifacts) -> Table:
    result = table("component", "output", ">unused", ">size", ">kept", ">size")
    unused, kept = _by_output(found.unused), _by_output(found.kept)
    for component, kind in sorted(unused | kept):
        ours, theirs = (
            unused.get((component, kind), Counter()),
            kept.get((component, kind), Counter()),
        )
        result.add_row(
            plain(component),
            plain(kind),
            f"{ours['number']:,}",
            size(ours["bytes"]),
            f"{theirs['number']:,}",
            size(theirs["bytes"]),
        )
    return result


def _by_output(items: Iterable[StoredArtifact]) -> dict[tuple[str, str], Counter[str]]:
    found: dict[tuple[str, str], Counter[str]] = {}
    for one in items:
        counts = found.setdefault((one.component, one.artifact.type), Counter())
        counts.update(number=1, bytes=one.bytes)
    return found


def _artifacts(items: Iterable[StoredArtifact]) -> Table:
    result = table(">artifact", "type", "run", ">size", "kept because", "folder")
    for one in items:
        result.add_row(
            str(one.artifact.id),
            plain(one.artifact.type),
            plain(one.run_id),
            size(one.bytes),
            plain(one.reason, "") if one.reason else plain("unused", "yellow"),
            plain(one.path),
        )
    return result
