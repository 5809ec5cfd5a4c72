"""Repairs Spark's checkpoint after a query that ended in the middle of a batch.

A batch is planned (`offsets/N`), run, and committed (`commits/N`). Spark repeats a batch that was
planned but not committed. For Kafka, Spark 4.1 fails at that: its progress report needs a result of
the planning step, so the query ends with a NullPointerException at every start. Our manifest alone
decides whether a batch counts. With a manifest, the batch is committed here. Without one, it is
removed, and Spark plans it again from the end of the batch before.
"""

from __future__ import annotations

from pathlib import Path

from base.atomic_files import fsync_folder, write_text
from streaming.layout import numbered

_FIRST_COMMIT = 'v1\n{"nextBatchWatermarkMs":0}'


def settle_batches(checkpoint: Path, landed: int) -> None:
    """Commits or removes every batch that is planned but not committed.

    Args:
      checkpoint: Checkpoint folder of the query, which must not be running.
      landed: Number of the last batch that has a manifest; -1 if none has.
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
