"""Repaired rows come back as a new version of their span: all of them, once."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_io.connectors.json_lines import parse_json
from spark_io.connectors.lines import read_lines
from spark_io.examples.rows import RECORD
from spark_io.replay import check as replay_check
from spark_io.replay.text_lines import is_row, lines_of
from spark_io.sources.source_types import FileSource
from tests.spark_io.readings import read_split
from tests.spark_io.replay_runs import (
    BROKEN,
    COLUMNS,
    COMMAND,
    COOLER,
    GOOD,
    HOT,
    MENDED,
    PATTERN,
    Run,
    one_line,
    replay,
    shell,
    tree,
    write_lines,
)

pytestmark = pytest.mark.component

SOURCE = FileSource("json", PATTERN, COLUMNS)


# From a run to the next one, with Spark


def test_repaired_rows_are_examples_of_the_next_run(run, tmp_path: Path) -> None:
    """The real job, the real commands, and one row of every kind of file."""
    v1, no_text = tmp_path / "readings" / "span-7" / "v1", b'{"reading": \xed\xa0\x80\xff'
    good = [json.dumps({"reading": n, "sensor": "s", "value": 1.0}) for n in range(100, 150)]
    write_lines(v1 / "a.json.gz", [*good[:20], BROKEN, HOT])
    write_lines(v1 / "b.json", [*good[20:40], no_text], end="\r\n")
    write_lines(v1 / "c.json.bz2", [BROKEN, *good[40:]])
    first = run(sources={"readings": SOURCE})
    assert first["quarantined"] == {"readings": {"not_utf8": 1, "too_hot": 1, "unparseable": 2}}

    folder, out = (tmp_path / "out").rename(tmp_path / "first") / "quarantine", tmp_path / "r.jsonl"
    options = ["--source", "readings"]
    subprocess.run([*COMMAND, "export", folder, *options, "--out", out], check=True, env=shell())
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    for number, line in enumerate(sorted(lines, key=lambda line: line["record"])):
        line["record"] = json.dumps({"reading": number, "sensor": "s", "value": 2.0})
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = subprocess.run(
        [*COMMAND, "apply", folder, *options, "--rows", out],
        env=shell(),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"span 7, {v1.with_name('v2')}: written",
        "  version 1: 54 rows = 50 kept + 4 replaced",
        "  version 2: 54 rows = 50 kept + 4 repaired",
        "run the pipeline again: it reads the new version",
    ]

    second = run(sources={"readings": SOURCE})
    assert (first["version"], second["version"]) == (1, 2)
    assert second["quarantined"] == {}
    assert second["input_fingerprint"] != first["input_fingerprint"]
    assert second["rows"]["read"] == sum(second["rows"]["splits"].values()) == 54
    examples = [*read_split(tmp_path, "train"), *read_split(tmp_path, "eval")]
    numbers = [e.features.feature["reading"].int64_list.value[0] for e in examples]
    assert sorted(numbers) == [*range(4), *range(100, 150)]


def test_lines_are_those_that_a_run_reads_and_rejects(spark: SparkSession, tmp_path: Path) -> None:
    chance = random.Random(4)
    parts = [b"\r", b"\n", b"\r\n", b" ", b"\t", b"a", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80"]
    parts += [b"\xf0\x9f\x98\x80", b"\xe2\x80\xa8", b"\x00", b"\xe2\x82", b"\xc2\x85"]
    for number in range(40):
        name = f"{number:02d}.json" + chance.choice(["", ".gz", ".bz2"])
        write_lines(tmp_path / name, [b"".join(chance.choices(parts, k=200))], end="")
    lines = read_lines(spark.read, [str(tmp_path)]).withColumn("file", F.input_file_name())
    refused = parse_json(lines, {"reading": "bigint"}, {})
    by_spark: dict[str, Counter[str]] = {}
    for row in refused.select(RECORD, "file").collect():
        by_spark.setdefault(Path(row.file).name, Counter())[row[RECORD]] += 1
    assert by_spark == {
        path.name: Counter(text for text, _ in lines_of(path) if is_row(text))
        for path in tmp_path.iterdir()
    }


def test_a_repair_that_the_next_run_would_reject_is_an_error(
    spark: SparkSession, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = contextlib.nullcontext(spark)
    monkeypatch.setattr(replay_check, "spark_session", lambda settings: shared)
    warm = MENDED.replace("1.5", '"warm"')
    repaired = finished.export({BROKEN: warm, HOT: COOLER})
    before = tree(finished.base)
    number = next(n for n, line in enumerate(repaired.open(), 1) if "warm" in line)
    assert one_line(finished.apply(repaired, code=1)) == (
        f"{repaired}, line {number}: the record does not fit the columns of 'readings' and would "
        "be rejected again; the columns are reading bigint, sensor string, value double"
    )
    assert tree(finished.base) == before


# show and export


def test_show_counts_reasons_and_shows_records(finished: Run) -> None:
    output = replay("show", finished.examples).output
    assert [line.split() for line in output.splitlines()[:3]] == [
        ["source", "reason", "rows", "of", "those", "read"],
        ["readings", "too_hot", "1", "8.33%"],
        ["readings", "unparseable", "1", "8.33%"],
    ]
    assert BROKEN in output
    assert HOT in output
    assert HOT not in replay("show", finished.examples, "--samples", 0).output


def test_show_for_a_program(finished: Run) -> None:
    shown = json.loads(replay("show", finished.quarantine, "--json").output)
    assert shown["counts"] == [
        {"source": "readings", "reason": "too_hot", "rows": 1},
        {"source": "readings", "reason": "unparseable", "rows": 1},
    ]
    assert {"source": "readings", "reason": "too_hot", "record": HOT} in shown["samples"]
    assert shown["version"] == 1


def test_export_writes_the_rows_of_the_reasons_asked_for(finished: Run, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    replay("export", finished.examples, "--reason", "too_hot", "--out", out)
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line == {"row": line["row"], "reason": "too_hot", "record": HOT}
    message = one_line(replay("export", finished.examples, "--out", out, code=1))
    assert message == f"{out} exists already; choose another --out, or add --force"
    assert "2 rows" in replay("export", finished.examples, "--out", out, "--force").output
    message = one_line(
        replay("export", finished.examples, "--reason", "cold", "--out", out, "--force", code=1)
    )
    assert message == "no row of 'readings' was rejected for 'cold'; reasons: too_hot, unparseable"


# Once


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(
    unchecked: None, finished: Run
) -> None:
    repaired = finished.export({HOT: COOLER})
    before = tree(finished.base)
    output = finished.apply(repaired, "--dry-run").output
    assert "v2: would be written\n  version 1: 12 rows = 11 kept + 1 replaced" in output
    assert tree(finished.base) == before


def test_applied_twice_it_is_there_once(unchecked: None, finished: Run, v1: Path) -> None:
    repaired = finished.export({HOT: COOLER})
    finished.apply(repaired)
    before = tree(finished.base)
    assert "v2: there already" in finished.apply(repaired).output
    assert tree(finished.base) == before


def test_other_rows_after_a_replay_are_for_the_next_run(unchecked: None, finished: Run) -> None:
    finished.apply(finished.export({HOT: COOLER}))
    before = tree(finished.base / "readings")
    message = one_line(finished.apply(finished.export({BROKEN: MENDED}), code=1))
    assert message == (
        "source 'readings': span 7 has version 2 already, from an earlier replay, and the run read "
        "version 1; run the pipeline again, and replay the rows that it rejects"
    )
    assert tree(finished.base / "readings") == before


def test_a_newer_version_by_somebody_else_is_not_replaced(
    unchecked: None, finished: Run, v1: Path
) -> None:
    write_lines(v1.with_name("v3") / "a.json", GOOD)
    message = one_line(finished.apply(finished.export({HOT: COOLER}), code=1))
    assert "span 7 has version 3 already, and the run read version 1" in message
