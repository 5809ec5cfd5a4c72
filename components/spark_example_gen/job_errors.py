"""Spark's errors, pages long, to the one line that says what to mend."""

from __future__ import annotations

import re

from pydantic import ValidationError

from components.errors import ComponentError, first_problem

_HINTS: tuple[tuple[str, str], ...] = (
    (r"No space left on device", "the disk is full; free space, or put spark.local.dir elsewhere"),
    (r"Permission denied", "no permission to read or write; check the owner of the path"),
    (r"java\.lang\.OutOfMemoryError", "Spark ran out of memory; raise spark.driver.memory"),
    (r"Java gateway process exited", "Spark's JVM did not start; its message is in the log"),
    (
        r"(?:ZLIB input stream|EOFException|not in gzip format|incorrect header check)",
        "a compressed file is cut short or damaged; replace it",
    ),
    (r"is not a Parquet file|Could not read footer", "a Parquet file is damaged; replace it"),
)
_COLUMN = re.compile(
    r"UNRESOLVED_COLUMN[^`]*(?P<name>`(?:[^`]+`\.`)*[^`]+`)"
    r".*?(?:did you mean one of the following\? \[(?P<have>[^\]]*)\])",
    re.IGNORECASE | re.DOTALL,
)


def explain(error: Exception) -> str:
    """One line for a person; the stack trace has been printed to the log already."""
    if isinstance(error, ComponentError):
        return str(error)
    if isinstance(error, ValidationError):
        return f"etl.parameters: {first_problem(error)}"
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}; mend that and run again"
    text = str(error)
    from_worker = re.search(r"ComponentError: ([^\n]+)", text)
    if from_worker:
        return from_worker.group(1)
    column = _COLUMN.search(text)
    if column:
        name, have = column.group("name").replace("`", ""), column.group("have").replace("`", "")
        return f"the ETL uses a column '{name}' that is not there; there are: {have}"
    for pattern, hint in _HINTS:
        found = re.search(pattern, text)
        if found:
            file = re.search(r"(?:file:)?(/[^\s,'\"]+\.(?:gz|json|csv|parquet|orc))", text)
            where = f" ({file.group(1)})" if file else ""
            return f"{hint}{where}"
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{type(error).__name__}: {first.strip()[:300]}"
