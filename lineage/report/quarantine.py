"""Reads a sample of the records that the ETL rejected."""

from __future__ import annotations

import dataclasses
import gzip
import zlib

from base.foreign_json import parse
from metadata.artifact_files import files_below

_RECORDS_PER_REASON = 2
_LONGEST = 400  # characters of a record
_MOST_LINES = 20_000


@dataclasses.dataclass(frozen=True)
class RejectedRecord:
    """A rejected record, as it was read."""

    source: str
    reason: str
    record: str


def read_rejected_records(uri: str) -> list[RejectedRecord]:
    """Returns a few records for each reason; empty if they are not on this machine."""
    found: dict[tuple[str, str], list[RejectedRecord]] = {}
    lines = 0
    for path in files_below(uri, "records/*.json.gz"):
        try:
            with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
                for line in file:
                    lines += 1
                    if lines > _MOST_LINES:
                        break
                    try:
                        refused = _refused(line)
                    except (ValueError, KeyError, TypeError):
                        continue  # SparkExampleGen did not write this line
                    kept = found.setdefault((refused.source, refused.reason), [])
                    if len(kept) < _RECORDS_PER_REASON:
                        kept.append(refused)
        except (OSError, EOFError, zlib.error):
            continue  # damaged from here on
    return [refused for key in sorted(found) for refused in found[key]]


def _refused(line: str) -> RejectedRecord:
    content = parse(line, finite=False)
    record = str(content["record"])
    shown = record if len(record) <= _LONGEST else record[:_LONGEST] + "…"
    return RejectedRecord(str(content["source"]), str(content["reason"]), shown)
