"""Spark's checkpoint after a query that ended in the middle of a batch.

A batch is planned (`offsets/N`), then run, then committed (`commits/N`). Spark repeats one that was
planned and not committed; of Kafka, Spark 4.1 cannot: its progress report asks for what only
planning finds out, and ends the query with a NullPointerException, each time anew. So no such batch
is left to it. Whether a batch counts is said by our manifest alone: with one it is committed,
without one it is forgotten, and planned anew from where the batch before it ended.
"""

from __future__ import annotations

from pathlib import Path

from base.atomic_files import fsync_folder, write_text
from streaming.layout import numbered

_FIRST_COMMIT = 'v1\n{"nextBatchWatermarkMs":0}'


def settle(checkpoint: Path, landed: int) -> None:
    """Leaves no batch that is planned and not committed.

    Args:
      checkpoint: of the query, which is not running.
      landed: number of the last batch that has a manifest; -1: none has.
    """
    planned, committed = _numbers(checkpoint / "offsets"), _numbers(checkpoint / "commits")
    for number in (n for n in planned if n not in committed):
        if number <= landed:
            earlier = max((n for n in committed if n < number), default=None)
            source = checkpoint / "commits" / str(earlier)
            text = _FIRST_COMMIT if earlier is None else source.read_text("utf-8")
            write_text(checkpoint / "commits" / str(number), text, durable=True)
        else:
            folder = checkpoint / "offsets"
            (folder / f".{number}.crc").unlink(missing_ok=True)
            (folder / str(number)).unlink()
            fsync_folder(folder)


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in numbered(folder) if path.name.isdecimal())
