"""A row that cannot be replayed gives one line with the reason, and no file changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.spark_io.replay_runs import (
    BROKEN,
    COOLER,
    GOOD,
    HOT,
    MENDED,
    Run,
    one_line,
    replay,
    tree,
    write_lines,
)

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("unchecked")]

RERUN = "run the pipeline again, and replay the rows that it rejects"


def refused_export(run: Run, *options: str) -> str:
    out = run.base / "never.jsonl"
    message = one_line(replay("export", run.examples, "--out", out, *options, code=1))
    assert not out.exists()
    return message


def refused_apply(run: Run, repaired: Path) -> str:
    before = tree(run.base)
    message = one_line(run.apply(repaired, code=1))
    assert tree(run.base) == before
    return message


# Sources whose rows are repaired elsewhere


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "jdbc"},
            "is of kind jdbc, and replay needs files; fix the rows in the database, and run",
        ),
        ({"kind": "table"}, "fix the rows in the table, and run again"),
        ({"kind": "kafka"}, "send corrected records to the topic, and run again"),
        ({"format": "csv"}, "is csv, and replay repairs JSON lines; fix the rows where the files"),
        ({"format": "parquet"}, "is parquet, and replay repairs JSON lines"),
        ({"path": "s3a://logs/{SPAN}/v{VERSION}/*"}, "is read from s3a://logs, and replay writes"),
        ({"path": "readings/span-{SPAN}/*"}, "has no {VERSION}, and replay never changes files"),
        ({"path": "span-{SPAN}/v{VERSION}.json"}, "in the names of folders, not of files"),
        ({"path": "{SPAN}/v{VERSION}/v{VERSION}/*"}, "needs its span and {VERSION} once"),
    ],
)
def test_a_source_that_is_not_for_replay(
    v1: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    run = Run(tmp_path, [("too_hot", HOT)]).publish(**changes)
    assert message in refused_export(run)


def test_a_base_that_is_no_local_folder(finished: Run) -> None:
    edit_manifest(finished, input_base="hdfs://name-node/data")
    assert "is read from hdfs://name-node/data, and replay writes" in refused_export(finished)


def test_a_source_that_the_run_does_not_have(finished: Run) -> None:
    message = refused_export(finished, "--source", "orders")
    assert message == "the run has no source 'orders'; it has: readings"


def test_a_run_without_rejected_rows(v1: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, []).publish()
    message = refused_export(run)
    assert message == "no row of 'readings' was rejected in this run; nothing to replay"
    assert replay("show", run.examples).output == "no row was rejected\n"


def test_a_version_in_several_folders(tmp_path: Path) -> None:
    for place in ("eu", "us"):
        write_lines(tmp_path / place / "7" / "v1" / "a.json", [HOT])
    run = Run(tmp_path, [("too_hot", HOT)], pattern="*/{SPAN}/v{VERSION}/*.json").publish()
    repaired = run.export({HOT: COOLER})
    message = "span 7, version 1 lies in several folders (eu/7/v1, us/7/v1)"
    assert message in refused_apply(run, repaired)


def test_a_pattern_without_room_for_another_version(tmp_path: Path) -> None:
    write_lines(tmp_path / "7" / "v9" / "a.json", [*GOOD, HOT])
    run = Run(tmp_path, [("too_hot", HOT)], pattern="{SPAN}/v{VERSION:1}/*.json").publish()
    message = "{SPAN}/v{VERSION:1}/*.json has no name for a version after 7/v9"
    assert message in refused_apply(run, run.export({HOT: COOLER}))


# Folders


def test_a_folder_of_no_run_is_an_error(finished: Run, tmp_path: Path) -> None:
    message = one_line(replay("show", tmp_path / "nowhere", code=1))
    assert message == f"the folder {tmp_path / 'nowhere'} does not exist"
    message = one_line(replay("show", finished.examples.parent, code=1))
    assert "holds neither manifest.json (examples) nor summary.json (quarantine)" in message


@pytest.mark.parametrize("kept", ["examples", "quarantine"])
def test_one_folder_without_the_other(finished: Run, kept: str) -> None:
    moved = finished.base / "elsewhere"
    shutil.move(finished.base / "out" / kept / "12", moved)
    message = one_line(replay("show", moved, code=1))
    assert f"{moved} has no counterpart: there is no" in message


def test_folders_of_two_runs(finished: Run) -> None:
    edit_manifest(finished, quarantined={"readings": {"too_hot": 5}})
    assert "are not of the same run" in refused_export(finished)


def test_a_manifest_of_another_format(finished: Run) -> None:
    edit_manifest(finished, format_version=1)
    assert "expected format 2, received 1. Run the pipeline again" in refused_export(finished)


def test_damaged_folders(finished: Run) -> None:
    records = next((finished.quarantine / "records").iterdir())
    whole = records.read_bytes()
    records.write_bytes(whole[:-9])
    assert f"{records} is cut short or damaged" in refused_export(finished)
    records.unlink()
    assert "does not hold the rows that the manifest counts" in refused_export(finished)
    (finished.examples / "manifest.json").write_text("{")
    assert "manifest.json is damaged" in refused_export(finished)


# The file of repaired rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"row": "ROW", "record": "{}"', "not JSON: Expecting ',' delimiter at character"),
        ('["ROW"]', "not a line of an export"),
        ('{"record": "{}"}', "not a line of an export"),
        ('{"row": "0123", "record": "{}"}', "this run rejected no such row"),
        ('{"row": "ROW", "record": {"reading": 1}}', "`record` must be a string"),
        ('{"row": "ROW", "record": ""}', "the record is not a JSON object: Expecting value"),
        ('{"row": "ROW", "record": "[1]"}', "the record is not a JSON object; expected"),
        ('{"row": "ROW", "record": "{} {}"}', "not a JSON object: Extra data at character 4"),
        ('{"row": "ROW", "record": "{}\\n{}"}', "the record has a line break"),
        ('{"row": "ROW", "record": "{\\"a\\": \\"\\ud800\\"}"}', "lone surrogate"),
        (
            '{"row": "ROW", "record": "{\\"b\\": 1}"}\n' * 2,
            "this row was rejected once, and the file",
        ),
    ],
)
def test_a_line_that_cannot_be_used(finished: Run, line: str, message: str) -> None:
    repaired = finished.export({BROKEN: MENDED})
    lines = repaired.read_text().splitlines()
    row = next(json.loads(line)["row"] for line in lines if "500" in line)
    kept = next(line for line in lines if "500" not in line)
    repaired.write_text(f"\ufeff{kept}\n\n{line.replace('ROW', row)}\n")
    number = 4 if "\n{" in line else 3
    found = refused_apply(finished, repaired)
    assert found.startswith(f"{repaired}, line {number}: ")
    assert message in found


def test_a_file_without_edits_or_a_missing_file_is_an_error(finished: Run, tmp_path: Path) -> None:
    message = refused_apply(finished, finished.export({}))
    assert (
        message == f"no row of {tmp_path / 'rows.jsonl'} was edited; repair at least one `record`"
    )
    missing = refused_apply(finished, tmp_path / "nowhere.jsonl")
    assert missing.startswith(f"No such file or directory: {tmp_path / 'nowhere.jsonl'}")


# Files that are not as the run read them


def test_a_row_that_is_in_no_file(v1: Path, tmp_path: Path) -> None:
    """An ETL that rejects rows without the column _line leaves the columns as JSON."""
    run = Run(tmp_path, [("too_hot", HOT.replace(" ", ""))]).publish()
    message = refused_apply(run, run.export({HOT.replace(" ", ""): COOLER}))
    assert 'line 1: no file that the run read holds this row: \'{"reading":2,' in message
    assert "The ETL must keep the column _line" in message


def test_files_with_other_rows_than_were_read(v1: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, [("too_hot", HOT)]).publish(rows_read=15)
    message = refused_apply(run, run.export({HOT: COOLER}))
    assert message.startswith("source 'readings': its files hold 12 rows, but the run read 15")


def test_files_that_were_changed_added_or_removed(finished: Run, v1: Path, tmp_path: Path) -> None:
    repaired = finished.export({HOT: COOLER})
    write_lines(v1 / "c.json", GOOD)
    message = f"{v1} holds files that the run did not read; {RERUN}"
    assert refused_apply(finished, repaired) == message
    (v1 / "c.json").unlink()
    write_lines(v1 / "b.json", GOOD)
    message = f"{v1 / 'b.json'} changed since the run read it; {RERUN}"
    assert refused_apply(finished, repaired) == message
    (v1 / "b.json").unlink()
    assert (
        refused_apply(finished, repaired) == f"{v1 / 'b.json'}, which the run read, does not exist"
    )
    shutil.move(tmp_path / "readings", tmp_path / "moved")
    edit_manifest(finished, input_base="no-folder")
    message = refused_apply(finished, repaired)
    assert message.startswith("the folder no-folder, which the run read, does not exist")


def test_a_file_that_is_not_read_here(v1: Path, tmp_path: Path) -> None:
    write_lines(v1 / "c.json", [HOT])
    run = Run(tmp_path, [("too_hot", HOT)]).publish()
    repaired = run.export({HOT: COOLER})
    (v1 / "c.json").rename(v1 / "c.json.zst")
    manifest = (run.examples / "manifest.json").read_text()
    (run.examples / "manifest.json").write_text(manifest.replace("c.json", "c.json.zst"))
    message = refused_apply(run, repaired)
    assert message == f"{v1 / 'c.json.zst'}: replay cannot read .zst; compress it as .gz or .bz2"


@pytest.mark.parametrize("length", [-5, 10])
def test_a_damaged_file_is_named(v1: Path, tmp_path: Path, length: int) -> None:
    (v1 / "a.json.gz").write_bytes((v1 / "a.json.gz").read_bytes()[:length])
    run = Run(tmp_path, [("too_hot", HOT)]).publish(rows_read=12)
    message = refused_apply(run, run.export({HOT: COOLER}))
    assert message.startswith(f"cannot read {v1 / 'a.json.gz'}: it is cut short or damaged")


def edit_manifest(run: Run, **changes: Any) -> None:
    path = run.examples / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
