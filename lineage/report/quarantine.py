"""A few of the records that the ETL refused."""

from __future__ import annotations

import dataclasses
import gzip
import zlib

from base.foreign_json import parse
from metadata.artifact_files import files_below

_A_REASON = 2
_LONGEST = 400  # characters of a record
_MOST_LINES = 20_000


@dataclasses.dataclass(frozen=True)
class RejectedRecord:
    """A record as it came."""

    source: str
    reason: str
    record: str


def read_rejected_records(uri: str) -> list[RejectedRecord]:
    """Some of each reason; none if they are not on this machine."""
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
                        continue  # not as SparkExampleGen writes it
                    kept = found.setdefault((refused.source, refused.reason), [])
                    if len(kept) < _A_REASON:
                        kept.append(refused)
        except (OSError, EOFError, zlib.error):
            continue  # damaged from here on
    return [refused for key in sorted(found) for refused in found[key]]


def _refused(line: str) -> RejectedRecord:
    content = parse(line, finite=False)
    record = str(content["record"])
    shown = record if len(record) <= _LONGEST else record[:_LONGEST] + "…"
    return RejectedRecord(str(content["source"]), str(content["reason"]), shown)
