"""The file in which a person repairs rows that a run refused.

It has a JSON object a line: {"row": ..., "reason": ..., "record": ...}. `record` is the text to
mend. `row` is a digest of the text as it was refused, and says which row a line is about: so the
text itself may be edited freely, by hand or by a program. A row whose line is deleted, or not
edited, stays as it is, and will be refused again.
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
from spark_io.replay.finished_run import Refused


@dataclasses.dataclass(frozen=True)
class Repair:
    """Attributes:
    line: number of its line in the file of repaired rows.
    refused: the text that was refused.
    record: the text to replace it.
    """

    line: int
    refused: str
    record: str


@dataclasses.dataclass(frozen=True)
class Repairs:
    """Attributes:
    path: the file.
    rows: those that were edited, in the order of the file.
    unedited: how many lines are as they were exported.
    """

    path: Path
    rows: list[Repair]
    unedited: int


def write_rows(path: Path, rows: Iterable[Refused]) -> None:
    """Writes the file to repair: complete, or not at all."""
    with (
        whole_file(path, many_writers=True) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):
        for row in rows:
            assert row.record is not None
            line = {"row": _digest(row.record), "reason": row.reason, "record": row.record}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_rows(path: Path, refused: Counter[str]) -> Repairs:
    """Reads the file that `write_rows` wrote and a person edited.

    Args:
      path: of the file.
      refused: text -> how often it was refused.

    Raises:
      ComponentError: a line that cannot be used, by its number.
    """
    known = {_digest(text): text for text in refused}
    seen: Counter[str] = Counter()
    rows: list[Repair] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not (line := line.removeprefix(b"\xef\xbb\xbf").strip()):
                continue
            try:
                text, record = _row(line, known)
                seen[text] += 1
                if seen[text] > refused[text]:
                    raise ValueError(
                        f"this row was refused {_times(refused[text])}, and stands here more often"
                    )
                if record != text:
                    _check_record(record)
                    rows.append(Repair(number, text, record))
            except ValueError as error:
                raise ComponentError(f"{path}, line {number}: {error}") from error
    return Repairs(path, rows, seen.total() - len(rows))


def _row(line: bytes, known: dict[str, str]) -> tuple[str, str]:
    """(text as it was refused, text now).

    Raises:
      ValueError: the line is none of an export.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no JSON: {_problem(error)}; is a quote or a comma missing?") from error
    if not isinstance(row, dict) or not isinstance(row.get("row"), str):
        raise ValueError('not a line of an export: {"row": ..., "reason": ..., "record": ...}')
    if row["row"] not in known:
        raise ValueError(
            "this row was not refused in this run, for this source; is `row` as it was exported?"
        )
    if not isinstance(row.get("record"), str):
        raise ValueError(
            "`record` must be a text, the repaired JSON object in quotes; delete the line to leave "
            "the row refused"
        )
    return known[row["row"]], row["record"]


def _check_record(record: str) -> None:
    """What needs no Spark to tell, and is told better here.

    Raises:
      ValueError: not one JSON object on one line.
    """
    if "\n" in record or "\r" in record:
        raise ValueError("the record has a line break; a row is one line")
    try:
        content = json.loads(record)
        record.encode()
    except UnicodeEncodeError:
        raise ValueError("the record has half of a surrogate pair, which is no text") from None
    except ValueError as error:
        raise ValueError(
            f"the record is no JSON object: {_problem(error)}; delete the line to leave the row "
            "refused"
        ) from error
    if not isinstance(content, dict):
        raise ValueError('the record is no JSON object: it has to be {"column": value, ...}')


def _problem(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return str(error)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
