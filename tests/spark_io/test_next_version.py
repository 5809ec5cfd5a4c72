"""The new version of a span holds the rows of the old one, the rejected ones repaired."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_io.connectors import files
from spark_io.connectors.connector import InputLocation
from spark_io.replay import next_version
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange
from tests.spark_io.replay_runs import (
    BROKEN,
    COLUMNS,
    COOLER,
    GOOD,
    HOT,
    MENDED,
    PATTERN,
    Run,
    rows,
    tree,
    write_lines,
)

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("unchecked")]


def test_rows_that_are_not_edited_or_whose_line_is_deleted_stay(v1: Path, tmp_path: Path) -> None:
    write_lines(v1 / "c.json", [BROKEN + " ", BROKEN])
    refused = [BROKEN, BROKEN, BROKEN + " ", HOT]
    run = Run(tmp_path, [("unparseable", record) for record in refused]).publish()
    repaired = run.export({BROKEN: MENDED})
    exported = repaired.read_text().splitlines(keepends=True)
    repaired.write_text("".join(line for line in exported if "500" not in line))
    output = run.apply(repaired).output
    assert "version 2: 14 rows = 12 kept + 2 repaired" in output
    assert f"left as they are: 2 rows (1 not edited, 1 not in {repaired})" in output
    new = Counter(rows(v1.with_name("v2")))
    assert new == Counter([*GOOD, HOT, BROKEN + " ", MENDED, MENDED])


def test_a_text_that_is_repaired_less_often_than_it_was_rejected(v1: Path, tmp_path: Path) -> None:
    write_lines(v1 / "c.json", [BROKEN])
    run = Run(tmp_path, [("unparseable", BROKEN)] * 2).publish()
    repaired = run.export({BROKEN: MENDED})
    repaired.write_text(repaired.read_text().splitlines()[0])
    assert "12 kept + 1 repaired" in run.apply(repaired).output
    v2 = v1.with_name("v2")
    assert rows(v2 / "a.json.gz") == [*GOOD[:3], HOT]
    assert rows(v2 / "c.json") == [BROKEN]


def test_the_same_text_in_two_spans_is_replaced_in_both(tmp_path: Path) -> None:
    readings = tmp_path / "readings"
    write_lines(readings / "span-7" / "v3" / "a.json", [*GOOD, BROKEN])
    write_lines(readings / "span-8" / "v1" / "a.json", [BROKEN, HOT, *GOOD])
    write_lines(readings / "span-9" / "v1" / "a.json", GOOD)
    refused = [("unparseable", BROKEN)] * 2 + [("too_hot", HOT)]
    run = Run(tmp_path, refused, length=3).publish()
    run.apply(run.export({BROKEN: MENDED, HOT: COOLER}))
    assert Counter(rows(readings / "span-7" / "v4")) == Counter([*GOOD, MENDED])
    assert Counter(rows(readings / "span-8" / "v2")) == Counter([*GOOD, MENDED, COOLER])
    assert [path.name for path in (readings / "span-9").iterdir()] == ["v1"]


def test_files_keep_their_names_and_those_without_such_rows_their_bytes(
    v1: Path, tmp_path: Path
) -> None:
    (v1 / "_SUCCESS").touch()
    (v1 / ".a.json.gz.crc").write_bytes(b"Hadoop's checksum, which would not fit")
    (v1 / "a.json.gz").chmod(0o640)
    run = Run(tmp_path, [("unparseable", BROKEN), ("too_hot", HOT)]).publish()
    before = tree(v1)
    run.apply(run.export({BROKEN: MENDED, HOT: COOLER}))
    v2 = v1.with_name("v2")
    assert {path: rows(v2 / path) for path in tree(v2)} == {
        ".replay.json": rows(v2 / ".replay.json"),
        "_SUCCESS": [],
        "a.json.gz": list(GOOD[:3]),
        "b.json": list(GOOD[3:]),
        "repaired-2.json.gz": [MENDED, COOLER],
    }
    assert (v2 / "b.json").samefile(v1 / "b.json")
    assert (v2 / "a.json.gz").stat().st_mode & 0o777 == 0o640
    assert tree(v1) == before


def test_other_lines_keep_their_bytes(v1: Path, tmp_path: Path) -> None:
    hot = HOT.encode() + b"\r"
    lines = [b"\xef\xbb\xbf{}\r\n", b"  \n", hot, b"{}\n", b'{"reading":\xff}\r\r{}']
    write_lines(v1 / "a.json.gz", lines, end="")
    run = Run(tmp_path, [("too_hot", HOT)]).publish()
    run.apply(run.export({HOT: COOLER}))
    written = gzip.decompress((v1.with_name("v2") / "a.json.gz").read_bytes())
    assert written == b"".join([*lines[:2], *lines[3:]])


def test_a_line_in_another_encoding_is_written_as_utf8(v1: Path, tmp_path: Path) -> None:
    """The quarantine shows it as ISO-8859-1; a space more makes it an edited row."""
    text = '{"reading": 3, "sensor": "caf\u00e9", "value": 1.0}'
    write_lines(v1 / "c.json", [text.encode("iso-8859-1"), GOOD[0]])
    run = Run(tmp_path, [("not_utf8", text)]).publish()
    run.apply(run.export({text: f"{text} "}))
    v2 = v1.with_name("v2")
    assert rows(v2 / "c.json") == [GOOD[0]]
    assert (v2 / "repaired-2.json").read_text("utf-8") == f"{text} \n"


def test_files_are_copied_where_there_are_no_hard_links(
    finished: Run, v1: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(next_version.os, "link", forbidden)
    finished.apply(finished.export({HOT: COOLER}))
    v2 = v1.with_name("v2")
    assert rows(v2 / "b.json") == rows(v1 / "b.json")
    assert not (v2 / "b.json").samefile(v1 / "b.json")


@pytest.mark.parametrize(
    ("pattern", "old", "new", "added"),
    [
        ("{YYYY}-{MM}-{DD}/v{VERSION}/*.json.gz", "2026-01-01/v01", "v02", "repaired-2.json.gz"),
        ("d/{SPAN}-{VERSION}/part-*.json", "d/2-2", "2-3", "part-repaired-3.json"),
        ("v{VERSION:1}/{YYYY}-{MM}-{DD}/{HH}/*", "v1/2026-01-01/01", "01", "repaired-2.json"),
        ("d/{SPAN}/v{VERSION}/*/?-*.*", "d/5/v9", "v10", "eu/0-repaired-10.json"),
        ("d/{SPAN}/v{VERSION}/data.json", "d/5/v9", "v10", "data.json"),
    ],
)
def test_names_of_versions_and_files_follow_the_pattern(
    tmp_path: Path, pattern: str, old: str, new: str, added: str
) -> None:
    place, _, name = added.rpartition("/")
    file = {"data.json": name, "part-repaired-3.json": "part-0.json"}.get(name, "0-a.json")
    file += ".gz" * name.endswith(".gz")
    write_lines(tmp_path / old / place / file, [*GOOD, HOT])
    run = Run(tmp_path, [("too_hot", HOT)], pattern=pattern).publish()
    run.apply(run.export({HOT: COOLER}))
    folder = tmp_path / old
    folder = folder.with_name(new) if pattern[0] != "v" else tmp_path / "v2/2026-01-01/01"
    assert rows(folder / added)[-1] == COOLER
    assert Counter(rows(folder)) == Counter([*GOOD, COOLER])
    place_of_run = InputLocation(str(tmp_path))
    found = files.find("readings", FileSource("json", pattern, COLUMNS), SpanRange(), place_of_run)
    assert sum(len(rows(tmp_path / f["path"])) for f in found.facts["files"]) == len(GOOD) + 1


def test_the_marker_is_no_file_of_the_source(finished: Run, v1: Path) -> None:
    finished.apply(finished.export({HOT: COOLER}))
    assert (v1.with_name("v2") / ".replay.json").is_file()
    source = FileSource("json", PATTERN, COLUMNS)
    found = files.find("readings", source, SpanRange(), InputLocation(str(finished.base)))
    names = [Path(file["path"]).name for file in found.facts["files"]]
    assert names == ["a.json.gz", "b.json", "repaired-2.json.gz"]


def test_a_repaired_row_can_be_rejected_and_repaired_again(finished: Run, v1: Path) -> None:
    finished.apply(finished.export({HOT: COOLER}))
    shutil.rmtree(finished.base / "out")
    again = Run(finished.base, [("too_hot", COOLER), ("unparseable", BROKEN)]).publish()
    again.apply(again.export({COOLER: COOLER.replace("50.0", "5.0"), BROKEN: MENDED}))
    v3 = v1.with_name("v3")
    assert rows(v3 / "repaired-2.json.gz") == []
    assert rows(v3 / "repaired-3.json.gz") == [MENDED, COOLER.replace("50.0", "5.0")]
    assert Counter(rows(v3)) == Counter([*GOOD, MENDED, COOLER.replace("50.0", "5.0")])


# For any files and any repairs

TEXTS = st.sampled_from([BROKEN, HOT, BROKEN + " ", "\ufffd", *GOOD[:2]])
NAMES = st.sampled_from(["span-7/v1/a.json", "span-7/v1/b.json.gz", "span-8/v4/a.json"])


@settings(max_examples=60)
@given(lines=st.lists(st.tuples(NAMES, TEXTS), min_size=1, max_size=25), data=st.data())
def test_every_row_is_kept_or_replaced_once(
    lines: list[tuple[str, str]], data: st.DataObject
) -> None:
    refused = [text for _, text in lines if data.draw(st.booleans())]
    edited = [data.draw(st.booleans()) for _ in refused]
    with tempfile.TemporaryDirectory() as folder:
        readings = Path(folder) / "readings"
        for name in ("span-7/v1/a.json", "span-8/v4/a.json", *(name for name, _ in lines)):
            write_lines(readings / name, [text for place, text in lines if place == name])
        run = Run(Path(folder), [("bad", text) for text in refused], length=2).publish()
        if not any(edited):
            return
        repaired = run.export({})
        exported = [json.loads(line) for line in repaired.read_text().splitlines()]
        for number, (line, mend) in enumerate(zip(exported, edited, strict=True)):
            line["record"] = json.dumps({"reading": number}) if mend else line["record"]
        repaired.write_text("".join(json.dumps(line) + "\n" for line in exported))
        run.apply(repaired)
        newest = [max(span.iterdir()) for span in readings.iterdir()]
        replaced = [text for text, mend in zip(refused, edited, strict=True) if mend]
        mended = [line["record"] for line, mend in zip(exported, edited, strict=True) if mend]
        expected = Counter(text for _, text in lines) - Counter(replaced) + Counter(mended)
        assert Counter(row for folder in newest for row in rows(folder)) == expected
