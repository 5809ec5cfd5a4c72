"""Reads and writes the file in which a person repairs rows that a run rejected.

Each line is a JSON object: {"row": ..., "reason": ..., "record": ...}. `record` is the text to
repair. `row` is a digest of the rejected text and identifies the row, so the text may be edited
freely. A row whose line is deleted or not edited stays rejected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from base.atomic_files import whole_file
from base.errors import ComponentError
from spark_io.replay.finished_run import RejectedRow


@dataclasses.dataclass(frozen=True)
class Repair:
    """One row that a person repaired.

    Attributes:
      line: Line number in the file of repaired rows, from 1.
      original: Text of the row as it was rejected.
      record: Repaired text.
    """

    line: int
    original: str
    record: str


@dataclasses.dataclass(frozen=True)
class Repairs:
    """The contents of a file of repaired rows.

    Attributes:
      path: Path of the file.
      rows: Edited rows, in the order of the file.
      unedited: Number of lines that are unchanged since the export.
    """

    path: Path
    rows: list[Repair]
    unedited: int


def write_rows(path: Path, rows: Iterable[RejectedRow]) -> None:
    """Writes rejected rows to a file in which they can be repaired, in one atomic step."""
    with (
        whole_file(path, many_writers=True) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        for row in rows:
            assert row.record is not None
            line = {"row": _digest(row.record), "reason": row.reason, "record": row.record}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_rows(path: Path, rejected: Counter[str]) -> Repairs:
    """Reads the file that `write_rows` wrote and a person edited.

    Args:
      path: Path of the file.
      rejected: Rejected text -> number of rows with that text.

    Raises:
      ComponentError: A line cannot be used; the error gives its number.
    """
    known = {_digest(text): text for text in rejected}
    seen: Counter[str] = Counter()
    rows: list[Repair] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not (line := line.removeprefix(b"\xef\xbb\xbf").strip()):
                continue
            try:
                text, record = _row(line, known)
                seen[text] += 1
                if seen[text] > rejected[text]:
                    raise ValueError(
                        f"this row was rejected {_times(rejected[text])}, and the file has it more "
                        "often; delete the extra lines"
                    )
                if record != text:
                    _check_record(record)
                    rows.append(Repair(number, text, record))
            except ValueError as error:
                raise ComponentError(f"{path}, line {number}: {error}") from error
    return Repairs(path, rows, seen.total() - len(rows))


def _row(line: bytes, known: dict[str, str]) -> tuple[str, str]:
    """Returns the rejected text of a row and its text now.

    Raises:
      ValueError: The line does not come from an export.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"not JSON: {_problem(error)}; check for a missing quote or comma"
        ) from error
    if not isinstance(row, dict) or not isinstance(row.get("row"), str):
        raise ValueError('not a line of an export: {"row": ..., "reason": ..., "record": ...}')
    if row["row"] not in known:
        raise ValueError(
            "this run rejected no such row of this source; restore `row` as it was exported"
        )
    if not isinstance(row.get("record"), str):
        raise ValueError(
            "`record` must be a string that holds the repaired JSON object; delete the line to "
            "leave the row rejected"
        )
    return known[row["row"]], row["record"]


def _check_record(record: str) -> None:
    """Checks a repaired record without Spark.

    Raises:
      ValueError: The record is not one JSON object on one line.
    """
    if "\n" in record or "\r" in record:
        raise ValueError("the record has a line break; a row must be one line")
    try:
        content = json.loads(record)
        record.encode()
    except UnicodeEncodeError:
        raise ValueError("the record has a lone surrogate; remove it") from None
    except ValueError as error:
        raise ValueError(
            f"the record is not a JSON object: {_problem(error)}; delete the line to leave the row "
            "rejected"
        ) from error
    if not isinstance(content, dict):
        raise ValueError('the record is not a JSON object; expected {"column": value, ...}')


def _problem(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return str(error)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
