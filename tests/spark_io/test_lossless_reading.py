"""Nothing is lost, doubled or changed unseen while it is read: corner cases of real files."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from base.errors import ComponentError
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.files import check_unchanged, find
from spark_io.connectors.queries import contents_checksum
from spark_io.examples.rows import quarantined
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange
from tests.spark_io.readings import (
    COLUMNS,
    READINGS,
    Read,
    failure,
    read_split,
    reading,
    write_readings,
)

pytestmark = pytest.mark.component

A = {"format": "json", "columns": {"a": "bigint"}}
CSV = {"format": "csv", "columns": {"id": "bigint", "t": "string"}}


@pytest.mark.parametrize(
    "line",
    [
        '{"a":1}{"a":2}',
        '{"a":1} {"a":2}',
        '{"a":1} garbage',
        '{"a":1},{"a":2}',
        '{"a":1}}',
        '{"a":1},{"a":2}]',
    ],
)
def test_text_behind_an_object(read: Read, line: str) -> None:
    rows, refused = read("a.json", f'{{"a":7}}\n{line}\n', **A)
    assert rows == [(7,)]
    assert refused == [("trailing_text", line)]


@pytest.mark.parametrize(
    "line", ['{"a":7} ', '{"b":{"c":1},"a":7}', '{"b":"}","a":7}\t', '{"b":[{}],"a":7}\r']
)
def test_an_object_with_braces_is_one_object(read: Read, line: str) -> None:
    assert read("a.json", f"{line}\n", **A) == ([(7,)], [])


def test_an_impossible_date_is_rejected(read: Read) -> None:
    columns = {"a": "bigint", "d": "date"}
    text = '{"a":1,"d":"2024-02-30"}\n{"a":2,"d":"2024-02-29"}\n'
    rows, refused = read("a.json", text, format="json", columns=columns)
    assert [row[0] for row in rows] == [2]
    assert refused == [("unparseable", '{"a":1,"d":"2024-02-30"}')]
    rows, refused = read(
        "a.csv", "a,d\n1,2024-02-30\n2,2024-02-29\n", format="csv", columns=columns
    )
    assert [row[0] for row in rows] == [2]
    assert refused == [("unparseable", "1,2024-02-30")]


def test_bytes_that_are_no_text_are_kept(read: Read) -> None:
    lines = ['{"t":"caf\xe9"}'.encode("latin-1"), b'{"t":"\x93"}', '{"t":"café \ufffd"}'.encode()]
    rows, refused = read("a.json", b"\n".join(lines), format="json", columns={"t": "string"})
    assert rows == [("café \ufffd",)]
    assert refused == [("not_utf8", '{"t":"caf\xe9"}'), ("not_utf8", '{"t":"\x93"}')]
    rows, refused = read("a.csv", b"id,t\n1,caf\xe9\n2,b\n", **CSV)
    assert rows == [(2, "b")]
    assert refused == [("not_utf8", "1,caf\xe9")]


def test_an_open_quote_takes_no_line_with_it(read: Read) -> None:
    rows, refused = read("a.csv", 'id,t\n1,"one\ntwo"\n3,"three, and"\n4,5" pipe\n', **CSV)
    assert rows == [(3, "three, and"), (4, '5" pipe')]
    assert refused == [("unparseable", '1,"one'), ("unparseable", 'two"')]


def test_line_breaks_in_quotes_if_the_source_says_so(read: Read) -> None:
    text = 'id,t\n1,"one\ntwo"\n3,three\n4\n'
    rows, refused = read("a.csv", text, **CSV, options={"multiLine": "true"})
    assert rows == [(1, "one\ntwo"), (3, "three")]
    assert refused == [("unparseable", "4")]


@pytest.mark.parametrize(
    "row", ["1", "1,2,3", "x,y", '"1', '"x"y,1', '"say \\"hi\\"",1', "," * 30_000]
)
def test_rows_that_do_not_fit_the_header(read: Read, row: str) -> None:
    assert read("a.csv", f"t,id\na,7\n{row}\n", **CSV) == ([(7, "a")], [("unparseable", row)])


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.csv", "id,t,p\n1,a,1.5\n2,b,2.5\n", "csv"),
        ("a.json", '{"id":1,"t":"a","p":1.5}', "json"),
    ],
)
def test_a_column_without_a_fitting_value_is_named(
    read: Read, name: str, text: str, form: str
) -> None:
    columns = {"id": "int", "t": "string", "p": "bigint"}
    with pytest.raises(ComponentError, match=r"readable as \w+; no value of 'p' \(bigint\) fits"):
        read(name, text, format=form, columns=columns)


def test_blank_lines_and_order_before_the_header(read: Read) -> None:
    assert read("a.csv", "\ufeff\n\n\nt,id\n20,2\n", **CSV) == ([(2, "20")], [])


@pytest.mark.parametrize(("separator", "between"), [("||", "||"), ("\\t", "\t"), (";", ";")])
def test_separators(read: Read, separator: str, between: str) -> None:
    text = f"id{between}t\n1{between}a,b\n"
    assert read("a.csv", text, **CSV, options={"sep": separator}) == ([(1, "a,b")], [])


def test_two_columns_of_one_name(read: Read) -> None:
    with pytest.raises(ComponentError, match="two columns named 't'"):
        read("a.csv", "id,t,t\n1,a,b\n", **CSV)


def test_a_backtick_in_a_name(read: Read) -> None:
    assert read("a.csv", "id,t,odd`one\n1,a,b\n", **CSV) == ([(1, "a")], [])


@pytest.mark.parametrize(
    ("have", "wanted"),
    [("bigint", "int"), ("double", "bigint"), ("int", "tinyint"), ("double", "float")],
)
def test_a_number_that_may_not_fit(run, spark, tmp_path: Path, have: str, wanted: str) -> None:
    spark.sql(f"SELECT cast(3 AS {have}) a").write.parquet(str(tmp_path / "p"))
    source = FileSource("parquet", "p/*.parquet", {"a": wanted})
    message = failure(
        run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.as_they_are"
    )
    assert f"'a' is {have} in the data, but `columns` says {wanted}" in message


def test_types_by_their_other_names(spark, tmp_path: Path) -> None:
    spark.sql("SELECT 3L a, 1.5BD b").write.parquet(str(tmp_path / "p"))
    source = FileSource("parquet", "p/*.parquet", {"a": "LONG", "b": "decimal(2, 1)"})
    found = find("s", source, SpanRange(), InputLocation(str(tmp_path)))
    assert read_source(spark, "s", source, found, str(tmp_path), True).read == 1
    for kind in ("number", "int, c int"):
        source = FileSource("json", "p/*.parquet", {"b": "int", "a": kind})
        with pytest.raises(ComponentError, match=f"type of column 'a'. Received: {kind}"):
            read_source(spark, "s", source, found, str(tmp_path), True)


@pytest.mark.parametrize("pattern", ["l/**/*.json", "l/[0-9].json", "l/{a,b}.json"])
def test_patterns_that_are_not_known(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ComponentError, match=r"only \* and \? are known"):
        find(
            "s",
            FileSource("json", pattern, {"a": "int"}),
            SpanRange(),
            InputLocation(str(tmp_path)),
        )


def test_one_span_written_in_two_ways(tmp_path: Path) -> None:
    for name in ("s-1", "s-01"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.json").write_text('{"a": 1}\n')
    source = FileSource("json", "s-{SPAN}/*.json", {"a": "int"})
    with pytest.raises(ComponentError, match=r"s-01/a\.json and s-1/a\.json are the same span"):
        find("s", source, SpanRange(), InputLocation(str(tmp_path)))


def test_a_relative_folder(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_readings(tmp_path, [reading(n) for n in range(20)])
    monkeypatch.chdir(tmp_path.parent)
    assert run(input_base=tmp_path.name)["rows"]["read"] == 20


def test_a_file_that_changes_while_it_is_read(spark, tmp_path: Path) -> None:
    path = write_readings(tmp_path, [reading(1)])
    found = find("readings", READINGS, SpanRange(), InputLocation(str(tmp_path)))
    path.touch()
    check_unchanged(spark, "readings", READINGS, found, str(tmp_path))
    write_readings(tmp_path, [reading(2)], "b")  # another one is none of ours
    check_unchanged(spark, "readings", READINGS, found, str(tmp_path))
    write_readings(tmp_path, [reading(3)])
    with pytest.raises(ComponentError, match=r"readings/a.json.gz changed while it was being read"):
        check_unchanged(spark, "readings", READINGS, found, str(tmp_path))
    path.unlink()
    with pytest.raises(ComponentError, match="changed while it was being read"):
        check_unchanged(spark, "readings", READINGS, found, str(tmp_path))


def test_a_file_swapped_by_the_etl_is_not_published(run, spark, tmp_path: Path) -> None:
    frame = spark.createDataFrame([(n, "s", 1.0) for n in range(20)], list(COLUMNS))
    frame.coalesce(1).write.parquet(str(tmp_path / "p"))
    source = FileSource("parquet", "p/*.parquet", COLUMNS)
    message = failure(
        run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.changes_its_input"
    )
    assert "changed while it was being read" in message
    assert not list((tmp_path / "out" / "examples").iterdir())


def test_a_gzip_file_cut_short_is_named(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(5)], "a")
    path = write_readings(tmp_path, [reading(n) for n in range(5000)], "b")
    path.write_bytes(path.read_bytes()[:-300])
    assert f"{path} is cut short or damaged" in failure(run)


def test_the_checksum_of_contents_tells_rows_apart(spark: SparkSession) -> None:
    def checksum(query: str) -> str:
        return contents_checksum(spark.sql(query))

    alike = [
        "SELECT cast(null AS int) a, 1 b",
        "SELECT 1 a, cast(null AS int) b",
        "SELECT 1 c, cast(null AS int) b",
        "SELECT 1L a, cast(null AS int) b",
        "SELECT true a, cast(null AS int) b",
        "SELECT array(1, 2) a, array(3) b",
        "SELECT array(1) a, array(2, 3) b",
        "SELECT array() a, array(3) b",
        "SELECT cast(null AS array<int>) a, array(3) b",
        "SELECT map('a', 1) a, 1 b",
        "SELECT timestamp'2024-01-01 00:00:00.000001' a, 1 b",
        "SELECT timestamp'2024-01-01 00:00:00.000002' a, 1 b",
        "SELECT 1.50BD a, 1 b",
        "SELECT 'NaN' a, 1 b",
        "SELECT double('NaN') a, 1 b",
    ]
    assert len({checksum(query) for query in alike}) == len(alike)
    two = "SELECT * FROM VALUES (1, 'a'), (2, 'b') AS t(a, b)"
    assert checksum(two) == checksum(f"{two} ORDER BY a DESC")


# What an ETL may get wrong in its accounts


def test_a_rejected_row_needs_an_outcome(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(20)])
    message = failure(run, etl="tests.spark_io.sensor_etl.forgets_quarantined")
    assert "pass rejected rows through quarantined()" in message


def test_rows_of_a_source_that_there_is_not(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(20)])
    message = failure(
        run, etl="tests.spark_io.sensor_etl.refuses_in_anothers_name", row_accounting="off"
    )
    assert "the ETL rejects rows of 'rea/dings', but the sources are readings" in message


def test_an_error_of_the_etl_names_its_line(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(20)])
    message = failure(run, etl="tests.spark_io.sensor_etl.has_a_bug")
    assert re.match(r"KeyError: 'price' \(\S*sensor_etl\.py, line \d+\)", message)


def test_a_record_that_is_no_text_is_kept_readable(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(20)])
    run(etl="tests.spark_io.sensor_etl.keeps_bytes", max_quarantine_fraction=1.0)
    (path,) = (tmp_path / "out" / "quarantine" / "records").iterdir()
    with gzip.open(path, "rt") as file:
        assert {json.loads(line)["record"] for line in file} == {"caf\ufffd"}
    assert len(read_split(tmp_path, "train")) + len(read_split(tmp_path, "eval")) == 19


def test_the_quarantine_keeps_nulls_and_microseconds(spark: SparkSession) -> None:
    frame: DataFrame = spark.sql(
        "SELECT 'bad' _reason, cast(null AS int) a, timestamp'2024-01-01 00:00:00.000001' t"
    )
    (row,) = quarantined(frame).collect()
    assert json.loads(row["_record"]) == {"a": None, "t": "2024-01-01T00:00:00.000001Z"}
