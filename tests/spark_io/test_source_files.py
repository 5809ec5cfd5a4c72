"""Files, folders and codecs: all rows of the files that are named are read, or the run says why."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from base.errors import ComponentError
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.files import find
from spark_io.sources.reading import SourceRows, read_source
from spark_io.sources.source_types import FileSource
from spark_io.sources.spans import SpanRange
from tests.spark_io.readings import Read

pytestmark = pytest.mark.component

N = {"n": "int"}


def read_all(spark: SparkSession, base: Path, source: FileSource) -> SourceRows:
    found = find("s", source, SpanRange(), InputLocation(str(base)))
    return read_source(spark, "s", source, found, str(base), True)


def numbers(spark: SparkSession, base: Path, source: FileSource) -> list[int]:
    rows = read_all(spark, base, source).rows
    return sorted(row["n"] for row in rows.select("n").collect())


def problem(spark: SparkSession, base: Path, source: FileSource) -> str:
    with pytest.raises(Exception) as caught:
        read_all(spark, base, source)
    return str(caught.value)


def lines(*values: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % value for value in values)


def write_format(spark: SparkSession, path: Path, form: str, *values: int) -> None:
    """One file of exactly this name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "json":
        path.write_bytes(lines(*values))
    elif form == "csv":
        path.write_text("n\n" + "".join(f"{value}\n" for value in values))
    elif form == "tfrecord":
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(path)) as writer:
            for value in values:
                feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                features = tf.train.Features(feature={"n": feature})
                writer.write(tf.train.Example(features=features).SerializeToString())
    else:
        folder = path.with_name(f"_{path.name}")
        frame = spark.createDataFrame([(value,) for value in values], "n int").coalesce(1)
        frame.write.format(form).save(str(folder))
        next(folder.glob(f"part-*.{form}")).rename(path)


ODD_NAMES = ["data[1]", "shop*", "a?b", "{a,b}", "a,b", "a b", "a%20b", "a#b", "back\\slash", "ünï"]


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "orc", "avro", "tfrecord"])
def test_a_name_is_no_pattern(spark: SparkSession, tmp_path: Path, form: str) -> None:
    for number, name in enumerate(ODD_NAMES):
        write_format(spark, tmp_path / name / f"{name}.{form}", form, number)
        # What such a name would match as a pattern.
        for neighbour in ("data1", "shop1", "axb", "a", "b"):
            if not (tmp_path / neighbour).exists():
                write_format(spark, tmp_path / neighbour / f"{neighbour}.{form}", form, 99)
    alone = ODD_NAMES if form == "json" else ODD_NAMES[:2]
    for number, name in enumerate(alone):
        source = FileSource(form, f"*.{form}", N)
        assert numbers(spark, tmp_path / name, source) == [number], name
    source = FileSource(form, f"*/*.{form}", N)
    assert len(numbers(spark, tmp_path, source)) == len(ODD_NAMES) + 5


def test_multi_line_csv_of_an_odd_name(spark: SparkSession, tmp_path: Path) -> None:
    write_format(spark, tmp_path / "d[1]" / "a{b}.csv", "csv", 1, 2)
    source = FileSource("csv", "*.csv", N, options={"multiLine": "true"})
    assert numbers(spark, tmp_path / "d[1]", source) == [1, 2]


@pytest.mark.parametrize("name", ["10:30.json", "a\nb.json"])
def test_a_name_that_hadoop_cannot_read(spark: SparkSession, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(lines(1))
    assert "has a colon or a control character" in problem(
        spark, tmp_path, FileSource("json", "*.json", N)
    )


# What is there and cannot be read is not absent


def test_a_link_that_leads_nowhere(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(1))
    (tmp_path / "lost.json").symlink_to(tmp_path / "gone.json")
    source = FileSource("json", "*.json", N)
    assert f"{tmp_path}/lost.json is a link to a file that does not exist" in problem(
        spark, tmp_path, source
    )
    (tmp_path / "gone.json").write_bytes(lines(2))
    assert numbers(spark, tmp_path, FileSource("json", "*o*.json", N)) == [2, 2]


def test_a_folder_link_that_leads_nowhere(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.json").write_bytes(lines(1))
    (tmp_path / "y").symlink_to(tmp_path / "gone")
    assert "y is a link to" in problem(spark, tmp_path, FileSource("json", "*/*.json", N))


def test_a_folder_in_place_of_a_file(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(1))
    spark.range(3).write.json(str(tmp_path / "b.json"))
    assert "b.json is a folder" in problem(spark, tmp_path, FileSource("json", "*.json", N))


def test_a_pipe_in_place_of_a_file(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(1))
    os.mkfifo(tmp_path / "b.json")
    assert "neither file nor folder" in problem(spark, tmp_path, FileSource("json", "*.json", N))


def test_a_file_that_is_still_being_copied(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(1))
    (tmp_path / "b.json._COPYING_").write_bytes(lines(2))
    assert "still being copied" in problem(spark, tmp_path, FileSource("json", "*.json", N))


def test_a_day_of_other_digits_than_the_pattern(spark: SparkSession, tmp_path: Path) -> None:
    for day in ("2024-03-01", "2024-3-2"):
        (tmp_path / day).mkdir()
        (tmp_path / day / "a.json").write_bytes(lines(1))
    source = FileSource("json", "{YYYY}-{MM}-{DD}/*.json", N)
    assert "'2024-3-2/a.json' does not fit" in problem(spark, tmp_path, source)


OURS = ("pytest-", "popen-", "test_")  # pytest's folders, which nobody else may enter
_LIST_AS_NOBODY = """
import os, sys
from base.errors import ComponentError
from spark_io.connectors.local_files import LocalFiles
from spark_io.sources.spans import SpanPattern
os.setuid(65534)
try:
    print(LocalFiles(sys.argv[1]).matching(SpanPattern(sys.argv[2])))
except ComponentError as error:
    print(error)
"""


@pytest.mark.parametrize("pattern", ["*/*.json", "x/*.json", "x/a.json"])
def test_a_folder_without_permission(tmp_path: Path, pattern: str) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(tempfile.gettempdir()) and folder.name.startswith(OURS):
            folder.chmod(0o755)
    (tmp_path / "x").mkdir(mode=0o700)
    (tmp_path / "x" / "a.json").write_bytes(lines(1))
    command = [sys.executable, "-c", _LIST_AS_NOBODY, str(tmp_path), pattern]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"cannot list the folder {tmp_path}/x: Permission denied" in said


# Codecs


@pytest.mark.parametrize(
    ("form", "options"),
    [("json", {}), ("csv", {}), ("csv", {"multiLine": "true"})],
    ids=["json", "csv", "multi_line_csv"],
)
def test_the_codecs_that_are_read(
    spark: SparkSession, tmp_path: Path, form: str, options: dict[str, str]
) -> None:
    content = lines(1, 2) if form == "json" else b"n\n1\n2\n"
    more = lines(3) if form == "json" else b"3\n"
    (tmp_path / f"a.{form}.gz").write_bytes(gzip.compress(content) + gzip.compress(more))
    (tmp_path / f"b.{form}.bz2").write_bytes(bz2.compress(content) + bz2.compress(more))
    (tmp_path / f"c.{form}").write_bytes(content)
    (tmp_path / f"d.{form}").write_bytes(b"")
    (tmp_path / f"e.{form}.gz").write_bytes(gzip.compress(b""))
    source = FileSource(form, "*", N, options=options)
    assert numbers(spark, tmp_path, source) == [1, 1, 1, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    "suffix", [".lz4", ".zst", ".snappy", ".xz", ".zip", ".deflate", ".lzo", ".GZ", ".tar", ".tgz"]
)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_codec_that_is_not_read_is_named(
    spark: SparkSession, tmp_path: Path, form: str, suffix: str
) -> None:
    (tmp_path / f"a.{form}{suffix}").write_bytes(b"\x04\x22\x4d\x18")
    (tmp_path / f"b.{form}").write_bytes(lines(1))
    said = problem(spark, tmp_path, FileSource(form, "*", N))
    assert f"a.{form}{suffix} is compressed as {suffix}, which is not supported" in said


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(lines(1), mtime=0), "gzip"),
        (bz2.compress(lines(1)), "bzip2"),
        (b"\x28\xb5\x2f\xfd rest", "zstd"),
        ('{"n": 1}\n'.encode("utf-16"), "UTF-16 text"),
        (b"PAR1 rest", "a Parquet file"),
    ],
)
def test_content_that_is_no_plain_text(
    spark: SparkSession, tmp_path: Path, content: bytes, what: str
) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert f"a.json is {what}, but its name says that it is plain text" in problem(
        spark, tmp_path, FileSource("json", "*", N)
    )


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_plain_text_with_the_name_of_a_codec(
    spark: SparkSession, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"a.json{suffix}").write_bytes(lines(1))
    said = problem(spark, tmp_path, FileSource("json", "*", N))
    assert f"a.json{suffix} is not compressed as its name says" in said


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
@pytest.mark.parametrize("options", [{}, {"multiLine": "true"}], ids=["lines", "multi_line"])
def test_a_compressed_file_cut_short_is_named(
    spark: SparkSession, tmp_path: Path, pack: Any, options: dict[str, str]
) -> None:
    suffix = "gz" if pack is gzip.compress else "bz2"
    text = b"n\n" + b"".join(b"%d\n" % (n * 7919 % 100_003) for n in range(20_000))
    (tmp_path / f"a.csv.{suffix}").write_bytes(pack(text)[:-100])
    said = problem(spark, tmp_path, FileSource("csv", "*", N, options=options))
    assert f"a.csv.{suffix} is cut short or damaged" in said


@pytest.mark.parametrize("options", [{}, {"multiLine": "true"}], ids=["lines", "multi_line"])
@pytest.mark.parametrize("at", ["block", "second", "end"])
def test_a_damaged_bz2_file_is_named(
    spark: SparkSession, tmp_path: Path, options: dict[str, str], at: str
) -> None:
    first, second = (bz2.compress(b"n\n" + b"%d\n" % n) for n in (1, 2))
    damaged = {
        "block": first + second[:20] + b"\x00" + second[21:],
        "second": first + b"\x00" + second[1:],
        "end": first + second[:5],
    }
    (tmp_path / "a.csv.bz2").write_bytes(damaged[at])
    said = problem(spark, tmp_path, FileSource("csv", "*", N, options=options))
    assert "a.csv.bz2 is cut short or damaged" in said


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (pa.timestamp("ns"), r"TIMESTAMP(NANOS,false)"),
        (pa.time64("us"), r"TIME(MICROS,"),
        (pa.decimal256(50, 2), r"DECIMAL(50,2)"),
    ],
)
def test_a_parquet_type_that_spark_stops_at_names_column_and_file(
    spark: SparkSession, tmp_path: Path, kind: Any, what: str
) -> None:
    values = {"n": pa.array([1], pa.int32()), "odd": pa.array([None], kind)}
    pq.write_table(pa.table(values), tmp_path / "a.parquet", version="2.6")
    said = problem(spark, tmp_path, FileSource("parquet", "*.parquet", N))
    assert "column 'odd' of file:" in said
    assert f"a.parquet is {what}" in said


# Multi-line CSV


MULTI = {"format": "csv", "columns": {"id": "int", "v": "string"}, "options": {"multiLine": "true"}}


def test_a_quote_that_is_never_closed_is_named_with_its_line(read: Read) -> None:
    text = 'id,v\n1,a\n2,"open\n' + "".join(f"{n},x\n" for n in range(3, 2003))
    with pytest.raises(Exception, match=r"a\.csv, the record that begins in line 3: a quote is no"):
        read("a.csv", text, **MULTI)


def test_a_quote_that_a_later_quote_closes(read: Read) -> None:
    text = 'id,v\n1,a\n2,"open\n3,x\n4,"other"\n5,y\n'
    with pytest.raises(Exception, match="begins in line 3: a quote is not closed, or text follows"):
        read("a.csv", text, **MULTI)


def test_multi_line_records(read: Read) -> None:
    text = '\ufeffid,v\r\n1,"a\r\nb"\r\n\r\n2,"say ""hi"""\r\nid,v\r\n3\r\nx,y\r\n4,5" pipe'
    rows, refused = read("a.csv", text, **MULTI)
    assert rows == [(1, "a\r\nb"), (2, 'say "hi"'), (4, '5" pipe')]
    assert refused == [("unparseable", "3"), ("unparseable", "x,y")]


def test_a_row_of_white_space_is_a_row(read: Read) -> None:
    options = {"multiLine": "true", "sep": "\t"}
    rows, _ = read("a.csv", "id\tv\n1\ta\n\t\n", **{**MULTI, "options": options})
    assert rows == [(None, None), (1, "a")]


def test_a_header_that_is_no_line(read: Read) -> None:
    with pytest.raises(Exception, match=r"the header of a\.csv cannot be read .* must be one line"):
        read("a.csv", 'id,"v\n(EUR)"\n1,2\n', **MULTI)


@pytest.mark.parametrize("options", [{}, {"multiLine": "true"}], ids=["lines", "multi_line"])
def test_files_put_together_have_headers_with_marks(read: Read, options: dict[str, str]) -> None:
    text = "\ufeffid,v\n1,a\n\ufeffid,v\n2,b\n"
    rows, _ = read("a.csv", text, **{**MULTI, "options": options})
    assert rows == [(1, "a"), (2, "b")]


def test_a_line_break_is_no_part_of_a_number(read: Read) -> None:
    columns = {"id": "int", "v": "double"}
    rows, refused = read(
        "a.csv", 'id,v\n1,"2.5\n"\n"2\n",2\n3,3\n', **{**MULTI, "columns": columns}
    )
    assert rows == [(3, 3.0)]
    assert len(refused) == 2


def test_multi_line_text_that_is_not_utf8(read: Read) -> None:
    rows, refused = read("a.csv", b'id,v\n1,"caf\xe9\nx"\n2,b\n', **MULTI)
    assert rows == [(2, "b")]
    assert refused == [("not_utf8", '1,"caf\xe9\nx"')]


# Columns in the names of folders


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "orc", "avro"])
def test_hive_folders_become_columns_if_asked_for(
    spark: SparkSession, tmp_path: Path, form: str
) -> None:
    for number, folder in enumerate(["01", "DE%2F1", "__HIVE_DEFAULT_PARTITION__"]):
        path = tmp_path / "dt=2024-03-01" / f"country={folder}" / f"a.{form}"
        write_format(spark, path, form, number)
    source = FileSource(form, "dt={YYYY}-{MM}-{DD}/*/*", N)
    said = problem(spark, tmp_path, source)
    assert (
        "holds the column 'country', which is not in the files; name it in folder_columns" in said
    )
    for columns in (N, {}) if form in ("parquet", "orc", "avro") else (N,):
        source = FileSource(form, "dt={YYYY}-{MM}-{DD}/*/*", columns, folder_columns=["country"])
        rows = read_all(spark, tmp_path, source).rows
        assert set(rows.columns) <= {"n", "country", "_line"}
        found = sorted(tuple(row) for row in rows.select("n", "country").collect())
        assert found == [(0, "01"), (1, "DE/1"), (2, None)]


def test_a_folder_column_that_no_folder_has(spark: SparkSession, tmp_path: Path) -> None:
    write_format(spark, tmp_path / "x" / "a.json", "json", 1)
    source = FileSource("json", "*/*.json", N, folder_columns=["country"])
    assert "no folder of x/a.json is named country=" in problem(spark, tmp_path, source)


def test_a_column_in_the_files_and_in_the_folder(spark: SparkSession, tmp_path: Path) -> None:
    write_format(spark, tmp_path / "n=7" / "a.parquet", "parquet", 1)
    source = FileSource("parquet", "*/*.parquet", folder_columns=["n"])
    assert "the column 'n' is in the files and in the name of the folder n=7" in problem(
        spark, tmp_path, source
    )


@pytest.mark.parametrize("folder", ["value=1", "PATH=x"])
def test_a_folder_named_as_a_column_of_spark(
    spark: SparkSession, tmp_path: Path, folder: str
) -> None:
    write_format(spark, tmp_path / folder / "country=DE" / "a.csv", "csv", 1)
    source = FileSource("csv", f"{folder}/*/*", N, folder_columns=["country"])
    assert f"in the name of the folder {folder}" in problem(spark, tmp_path, source)


def test_a_folder_column_is_not_declared_twice() -> None:
    with pytest.raises(ValueError, match="'n' is in `columns` and in `folder_columns`"):
        FileSource("json", "*/*.json", N, folder_columns=["n"])
    with pytest.raises(ComponentError, match=r"only \* and \? are known"):
        find("s", FileSource("json", "[ab]/*", N), SpanRange(), InputLocation("/"))
