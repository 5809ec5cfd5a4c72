"""Finished runs to replay, as the job leaves them but without Spark; and the command."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from base.atomic_files import write_json
from components.spark_example_gen.__main__ import cli
from spark_io.connectors import files
from spark_io.connectors.connector import InputLocation
from spark_io.examples.shards import JsonLinesShard
from spark_io.replay.text_lines import is_row, lines_of
from spark_io.sources.source_types import FileSource, sources_to_json
from spark_io.sources.spans import SpanRange

PATTERN = "readings/span-{SPAN}/v{VERSION}/*"
COLUMNS = {"reading": "bigint", "sensor": "string", "value": "double"}
COMMAND = (sys.executable, "-m", "components.spark_example_gen", "replay")
BROKEN, HOT = '{"reading": 1, "sen', '{"reading": 2, "sensor": "s2", "value": 500.0}'
MENDED = '{"reading": 1, "sensor": "s1", "value": 1.5}'
COOLER = '{"reading": 2, "sensor": "s2", "value": 50.0}'
GOOD = tuple(json.dumps({"reading": n, "sensor": f"s{n}", "value": 1.0}) for n in range(10, 20))


def write_lines(path: Path, lines: Sequence[str | bytes], end: str = "\n") -> Path:
    """A text file, compressed as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    content = b"".join(line + end.encode() for line in encoded)
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    path.write_bytes(bz2.compress(content) if path.suffix == ".bz2" else content)
    return path


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run over files that are there.

    Attributes:
      base: what paths are relative to.
      refused: (reason, record) of each row in its quarantine.
      length: number of spans that it read.
      pattern: of its source, 'readings'.
    """

    base: Path
    refused: Sequence[tuple[str, str | None]]
    length: int = 1
    pattern: str = PATTERN

    @property
    def examples(self) -> Path:
        return self.base / "out" / "examples" / "12"

    @property
    def quarantine(self) -> Path:
        return self.base / "out" / "quarantine" / "12"

    def publish(self, **changes: Any) -> Run:
        """Writes manifest and quarantine; `changes` are those of the source's entry."""
        source = FileSource("json", self.pattern, COLUMNS)
        place = InputLocation(str(self.base))
        found = files.find("readings", source, SpanRange(self.length), place)
        paths = [self.base / file["path"] for file in found.facts["files"]]
        (entry,) = sources_to_json({"readings": source})
        if "rows_read" not in changes:
            changes["rows_read"] = sum(len(rows(path)) for path in paths)
        entry |= {**found.facts, **changes}
        counts = dict(sorted(Counter(reason for reason, _ in self.refused).items()))
        quarantined = {"readings": counts} if counts else {}
        self.examples.mkdir(parents=True)
        write_json(
            self.examples / "manifest.json",
            {
                "format_version": 2,
                "span": found.spans[-1],
                "version": found.version,
                "spans": list(found.spans),
                "input_base": str(self.base),
                "input_fingerprint": "a4f0",
                "sources": [entry],
                "quarantined": quarantined,
            },
        )
        shard = JsonLinesShard(_made(self.quarantine / "records") / "00000-1.json.gz")
        for reason, record in self.refused:
            shard.write({"source": "readings", "reason": reason, "record": record})
        shard.close()
        write_json(self.quarantine / "summary.json", quarantined)
        return self

    def export(self, repaired: Mapping[str, str], *options: str) -> Path:
        """Exports, and edits the records that are keys of `repaired`."""
        out = self.base / "rows.jsonl"
        replay("export", self.examples, "--out", out, "--force", *options)
        lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        for line in lines:
            line["record"] = repaired.get(line["record"], line["record"])
        out.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return out

    def apply(self, path: Path, *options: str, code: int = 0) -> Result:
        return replay("apply", self.examples, "--rows", path, *options, code=code)


def first_version(base: Path) -> Path:
    """Version 1 of span 7: two rejected rows in a, none in b."""
    folder = base / "readings" / "span-7" / "v1"
    write_lines(folder / "a.json.gz", [*GOOD[:3], BROKEN, HOT])
    write_lines(folder / "b.json", GOOD[3:])
    return folder


def finished_run(base: Path) -> Run:
    """The run that read `first_version`."""
    return Run(base, [("unparseable", BROKEN), ("too_hot", HOT)]).publish()


def shell() -> dict[str, str]:
    """The environment of a user, who has not set what the tests set for Spark."""
    ours = ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON", "JAVA_HOME")
    return {name: value for name, value in os.environ.items() if name not in ours}


def replay(command: str, folder: Path, *arguments: Any, code: int = 0) -> Result:
    """The command, in this process."""
    needed = () if command == "show" or "--source" in arguments else ("--source", "readings")
    words = ["replay", command, str(folder), *needed, *map(str, arguments)]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == code, result.output
    return result


def one_line(result: Result) -> str:
    """Returns the error, which must be one line."""
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


def rows(path: Path) -> list[str]:
    """The rows of a file, or of all visible files below a folder."""
    paths = [path]
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and not hidden(p, path))
    return [text for file in paths for text, _ in lines_of(file) if is_row(text)]


def hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden or not, with its bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
