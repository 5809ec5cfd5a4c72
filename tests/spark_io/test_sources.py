"""Every kind of source on the real service: the same rows come out, and mistakes are one line."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from pyspark.sql import SparkSession

from base.errors import ComponentError
from dev_services.hdfs import Hdfs
from dev_services.mariadb import Mariadb
from dev_services.postgresql import Postgresql
from dev_services.s3 import S3
from spark_io.connectors.connector import InputLocation
from spark_io.examples.time_cut import TimeCut
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import (
    FileSource,
    JdbcSource,
    KafkaSource,
    SparkConfig,
    TableSource,
)
from spark_io.sources.spans import SpanRange
from tests.spark_io.readings import COLUMNS, failure, published, read_split, reading

pytestmark = pytest.mark.integration

FIRST_HOUR = 474_792  # 2024-03-01T00
HOUR_MS = 3_600_000


def fingerprint(spark: SparkSession, source: Any, base: str = "", **wanted: Any) -> str:
    return find_inputs({"r": source}, SpanRange(**wanted), InputLocation(base, spark)).fingerprint()


# Files


def avro_or_parquet(spark: SparkSession, path: str, kind: str, count: int = 60) -> None:
    rows = spark.createDataFrame([(n, f"s{n % 5}", float(n)) for n in range(count)], list(COLUMNS))
    rows.coalesce(1).write.mode("overwrite").format(kind).save(path)


def test_avro(run, spark, tmp_path: Path) -> None:
    avro_or_parquet(spark, str(tmp_path / "readings"), "avro")
    run(sources={"readings": FileSource("avro", "readings/*.avro", COLUMNS)})
    assert published(tmp_path) == list(range(60))


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_tfrecords_come_back_as_they_went(run, tmp_path: Path, compression: str) -> None:
    write_tfrecords(tmp_path / "a.tfrecord", compression)
    columns = {**COLUMNS, "tags": "array<string>", "maybe": "float"}
    run(sources={"readings": FileSource("tfrecord", "*.tfrecord", columns)})
    assert published(tmp_path) == list(range(60))
    for example in [*read_split(tmp_path, "train"), *read_split(tmp_path, "eval")]:
        values = example.features.feature
        number = values["reading"].int64_list.value[0]
        assert list(values["tags"].bytes_list.value) == [b"t"] * (number % 3)
        assert list(values["maybe"].float_list.value) == ([0.0] if number % 2 else [])


def write_tfrecords(path: Path, compression: str = "") -> None:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for n in range(60):
            feature = {
                "reading": tf.train.Feature(int64_list=tf.train.Int64List(value=[n])),
                "sensor": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"s%d" % (n % 5)])),
                "value": tf.train.Feature(float_list=tf.train.FloatList(value=[n])),
                "tags": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"t"] * (n % 3))),
            }
            if n % 2:
                feature["maybe"] = tf.train.Feature(float_list=tf.train.FloatList(value=[0.0]))
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def test_a_tfrecord_file_cut_short_is_named(run, tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    write_tfrecords(path)
    path.write_bytes(path.read_bytes()[:-3])
    message = failure(run, sources={"readings": FileSource("tfrecord", "*.tfrecord", COLUMNS)})
    assert "a.tfrecord is cut short or damaged" in message


def test_a_feature_with_several_values_is_no_scalar(run, tmp_path: Path) -> None:
    write_tfrecords(tmp_path / "a.tfrecord")
    source = FileSource("tfrecord", "*.tfrecord", {**COLUMNS, "tags": "string"})
    message = failure(run, sources={"readings": source})
    assert re.search(
        r"a\.tfrecord: feature 'tags' has several values .* declare it as array", message
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"reading": "tinyint"}, "'reading' does not fit tinyint: .*300"),
        ({"reading": "boolean"}, "'reading' does not fit boolean: a value is neither 0 nor 1"),
        ({"word": "string"}, "'word' does not fit string"),
        ({"reading": "float"}, "no tf.train.Example of `columns`"),
    ],
)
def test_a_feature_that_does_not_fit_names_feature_and_file(
    run, tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for number in (1, 300):
            feature = {
                "reading": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
                "word": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"\xff\xfe"])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    source = FileSource("tfrecord", "*.tfrecord", columns)
    found = failure(run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.as_they_are")
    assert re.search(rf"a\.tfrecord: .*{message}", found), found


@pytest.mark.parametrize("kind", ["parquet", "orc", "avro"])
def test_a_file_cut_short_is_named(run, spark, tmp_path: Path, kind: str) -> None:
    avro_or_parquet(spark, str(tmp_path / "readings"), kind)
    (path,) = (tmp_path / "readings").glob(f"*.{kind}")
    path.write_bytes(path.read_bytes()[: 20 if kind == "avro" else -20])
    (tmp_path / "readings" / f".{path.name}.crc").unlink()  # Hadoop's own checksum file
    message = failure(run, sources={"readings": FileSource(kind, f"readings/*.{kind}", COLUMNS)})
    assert path.name in message
    assert "cut short, damaged" in message


@pytest.mark.parametrize("kind", ["parquet", "orc", "avro"])
def test_files_with_different_columns_are_named(run, spark, tmp_path: Path, kind: str) -> None:
    avro_or_parquet(spark, str(tmp_path / "readings" / "a"), kind)
    other = spark.createDataFrame([(1, "s1", "warm")], list(COLUMNS)).coalesce(1)
    other.write.format(kind).save(str(tmp_path / "readings" / "b"))
    source = FileSource(kind, f"readings/*/*.{kind}")
    message = failure(run, sources={"readings": source})
    assert "have different columns (value: " in message
    assert "readings/a/" in message
    # The columns that are asked for are the same in both.
    source = FileSource(kind, f"readings/*/*.{kind}", {"reading": "bigint", "sensor": "string"})
    manifest = run(sources={"readings": source}, etl="tests.spark_io.sensor_etl.as_they_are")
    assert manifest["rows"]["read"] == 61


# HDFS and S3


@pytest.fixture(params=["hdfs", "s3"])
def store(request: pytest.FixtureRequest, spark: SparkSession) -> Iterator[str]:
    """URI of an empty folder on HDFS, and on S3."""
    service: Hdfs | S3 = request.getfixturevalue(f"{request.param}_service")
    conf = spark._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    if isinstance(service, S3):
        for key, value in service.spark_conf().items():
            conf.set(key.removeprefix("spark.hadoop."), value)
    yield f"{service.url}/{request.node.name.replace('[', '-').replace(']', '')}"


def write_text(spark: SparkSession, uri: str, lines: list[Any]) -> None:
    """One gzipped file of JSON lines under exactly this name."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(uri)
    files = path.getFileSystem(spark._jsc.hadoopConfiguration())
    stream = jvm.java.util.zip.GZIPOutputStream(files.create(path, True))
    stream.write(bytearray("".join(json.dumps(line) + "\n" for line in lines), "utf-8"))
    stream.close()


def test_spans_of_files_far_away(run, spark, tmp_path: Path, store: str) -> None:
    pattern = "readings/{YYYY}-{MM}-{DD}/{HH}/*.json.gz"
    for hour in (0, 1, 3):
        rows = [reading(100 * hour + n) for n in range(30)]
        write_text(spark, f"{store}/readings/2024-03-01/{hour:02d}/a.json.gz", rows)
    sources = {"readings": FileSource("json", pattern, COLUMNS)}
    manifest = run(input_base=store, sources=sources, length=2, last=FIRST_HOUR + 1)
    assert manifest["spans"] == [FIRST_HOUR, FIRST_HOUR + 1]
    assert published(tmp_path) == [*range(30), *range(100, 130)]
    assert "2024-03-01T02" in failure(run, input_base=store, sources=sources, length=2)


def test_the_same_contents_far_away_are_the_same_input(spark, store: str) -> None:
    source = FileSource("json", f"{store}/readings/*.json.gz", COLUMNS)
    rows = [reading(n) for n in range(30)]
    write_text(spark, f"{store}/readings/a.json.gz", rows)
    before = fingerprint(spark, source)
    write_text(spark, f"{store}/readings/a.json.gz", rows)
    assert fingerprint(spark, source) == before
    write_text(spark, f"{store}/readings/a.json.gz", [*rows[:-1], reading(29, 2.0)])
    assert fingerprint(spark, source) != before


def test_csv_and_parquet_far_away(run, spark, tmp_path: Path, store: str) -> None:
    avro_or_parquet(spark, f"{store}/p", "parquet")
    rows = spark.createDataFrame([("s1", "hall"), ("s2", "roof")], ["sensor", "room"])
    rows.coalesce(1).write.option("header", "true").csv(f"{store}/c")
    sources = {
        "readings": FileSource("parquet", f"{store}/p/*.parquet", COLUMNS),
        "sensors": FileSource("csv", f"{store}/c/*.csv", {"sensor": "string", "room": "string"}),
    }
    run(sources=sources)
    assert published(tmp_path) == list(range(60))


def test_a_missing_remote_folder_is_an_error(run, store: str) -> None:
    sources = {"readings": FileSource("json", "*.json", COLUMNS)}
    message = failure(run, input_base=f"{store}/nowhere", sources=sources)
    assert "nowhere does not exist" in message


# Databases


@pytest.fixture(params=["mariadb", "postgresql"])
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    service: Mariadb | Postgresql = request.getfixturevalue(f"{request.param}_service")
    monkeypatch.setenv("READINGS_PASSWORD", service.password)
    return service


def jdbc(service: Mariadb | Postgresql, **fields: Any) -> JdbcSource:
    settings = {"url": service.jdbc_url, "user": service.user, "password_env": "READINGS_PASSWORD"}
    return JdbcSource(**(settings | fields))


@pytest.fixture
def table(spark: SparkSession, database, request: pytest.FixtureRequest) -> str:
    """Hours 0, 1, 2 and 4 of a day, 20 readings in each, at every third minute."""
    name = "r_" + str(abs(hash(request.node.name)))
    rows = [
        (100 * hour + n, f"s{n % 5}", float(n), f"2024-03-01 {hour:02d}:{3 * n:02d}:00")
        for hour in (0, 1, 2, 4)
        for n in range(20)
    ]
    frame = spark.createDataFrame(rows, [*COLUMNS, "at"])
    frame = frame.selectExpr("reading", "sensor", "value", "cast(at as timestamp) as at")
    write_table(frame, database, name, "overwrite")
    return name


def write_table(frame, database, name: str, mode: str) -> None:
    url = database.jdbc_url
    driver = "org.mariadb.jdbc.Driver" if "mysql" in url else "org.postgresql.Driver"
    options = {"url": url, "user": database.user, "password": database.password, "dbtable": name}
    frame.write.format("jdbc").options(driver=driver, **options).mode(mode).save()


def test_a_table_in_parts(run, spark, tmp_path: Path, database, table: str) -> None:
    source = jdbc(database, table=table, partition_column="reading", partitions=3)
    manifest = run(sources={"readings": source}, etl="tests.spark_io.sensor_etl.without_time")
    assert manifest["rows"]["read"] == 80
    assert published(tmp_path) == [100 * h + n for h in (0, 1, 2, 4) for n in range(20)]


def test_parts_by_a_number_with_a_fraction(
    run, spark, tmp_path: Path, database, table: str
) -> None:
    rows = spark.createDataFrame([(n, f"s{n % 5}", n / 4) for n in range(60)], list(COLUMNS))
    rows = rows.withColumn("value", rows["value"].cast("decimal(9, 2)"))
    write_table(rows, database, table, "overwrite")
    query = f"SELECT * FROM {table};"
    source = jdbc(database, query=query, partition_column="value", partitions=4)
    run(sources={"readings": source}, etl="tests.spark_io.sensor_etl.as_they_are")
    assert published(tmp_path) == list(range(60))


def test_a_small_number_is_no_boolean(spark, mariadb_service: Mariadb, monkeypatch) -> None:
    monkeypatch.setenv("READINGS_PASSWORD", mariadb_service.password)
    source = jdbc(mariadb_service, query="SELECT CAST(5 AS SIGNED) AS n, rating FROM ratings")
    connect = spark._jvm.java.sql.DriverManager.getConnection
    login = mariadb_service.user, mariadb_service.password
    connection = connect(mariadb_service.jdbc_url, *login)
    statement = connection.createStatement()
    statement.execute("CREATE OR REPLACE TABLE ratings (rating TINYINT(1))")
    statement.execute("INSERT INTO ratings VALUES (5), (2)")
    connection.close()
    found = find_inputs({"r": source}, SpanRange(), InputLocation("", spark)).primary
    rows = read_source(spark, "r", source, found, "", True).rows
    assert sorted(row.rating for row in rows.collect()) == [2, 5]


def test_a_window_of_a_table(run, tmp_path: Path, database, table: str) -> None:
    source = jdbc(database, table=table, span="hour", span_column="at")
    arguments = {"etl": "tests.spark_io.sensor_etl.without_time", "sources": {"readings": source}}
    manifest = run(**arguments, length=2, last=FIRST_HOUR + 2)
    assert manifest["spans"] == [FIRST_HOUR + 1, FIRST_HOUR + 2]
    assert published(tmp_path) == [100 * h + n for h in (1, 2) for n in range(20)]


def test_the_newest_span_of_a_table_is_one_that_is_over(run, database, table: str) -> None:
    """There are rows of hour 4, so hour 3 is over; it is empty, which is an error."""
    source = jdbc(database, table=table, span="hour", span_column="at")
    message = failure(
        run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.without_time"
    )
    assert "missing span 474795 (2024-03-01T03)" in message


def test_a_query_with_bounds(run, tmp_path: Path, database, table: str) -> None:
    query = f"SELECT * FROM {table} WHERE at >= :span_begin AND at < :span_end AND value < 5"
    source = jdbc(database, query=query, span="hour", missing_spans="allow")
    arguments = {"etl": "tests.spark_io.sensor_etl.without_time", "sources": {"readings": source}}
    assert "the newest span of a query is unknown" in failure(run, **arguments)
    run(**arguments, length=3, last=FIRST_HOUR + 4)
    assert published(tmp_path) == [200, 201, 202, 203, 204, 400, 401, 402, 403, 404]


def test_a_changed_row_is_another_input(spark, database, table: str) -> None:
    whole = jdbc(database, table=table)
    before = fingerprint(spark, whole)
    assert fingerprint(spark, whole) == before
    counted = jdbc(database, table=table, fingerprint=f"SELECT COUNT(*) AS n FROM {table}")
    count_before = fingerprint(spark, counted)
    never = jdbc(database, table=table, fingerprint="never")
    assert fingerprint(spark, never) != fingerprint(spark, never)
    append_row(spark, database, table)
    assert fingerprint(spark, whole) != before
    assert fingerprint(spark, counted) != count_before


def append_row(spark: SparkSession, database, table: str) -> None:
    row = spark.createDataFrame([(999, "s1", 1.0, "2024-03-01 04:59:00")], [*COLUMNS, "at"])
    row = row.selectExpr("reading", "sensor", "value", "cast(at as timestamp) as at")
    write_table(row, database, table, "append")


def test_a_table_that_changes_under_a_run_stops_it(run, spark, database, table: str) -> None:
    sources = {"readings": jdbc(database, table=table)}
    decided = find_inputs(sources, SpanRange(), InputLocation("", spark))
    arguments = {"sources": sources, "etl": "tests.spark_io.sensor_etl.without_time"}
    run(**arguments, decided=decided.facts(), fingerprint=decided.fingerprint())
    append_row(spark, database, table)
    message = failure(run, **arguments, decided=decided.facts(), fingerprint=decided.fingerprint())
    assert "the input changed while the run was starting" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"colour": "string"}}, "source 'readings' has no column 'colour'"),
        ({"columns": {"sensor": "bigint"}}, "column 'sensor' is string in the data"),
        ({"table": "nowhere_at_all"}, "the database says: .*nowhere_at_all"),
        ({"user": "nobody"}, "rejects user or password"),
        ({"password_env": "NOT_SET"}, "environment variable NOT_SET .* is not set"),
    ],
)
def test_mistakes_with_a_database(run, database, table: str, changes, message: str) -> None:
    source = jdbc(database, **({"table": table} | changes))
    text = failure(run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.without_time")
    assert re.search(message, text), text
    assert "\n" not in text
    assert database.password not in text


def test_a_database_that_does_not_answer(run, database) -> None:
    url = database.jdbc_url.replace(str(database.port), "1")
    message = failure(run, sources={"readings": jdbc(database, table="t", url=url)})
    assert "a service does not answer" in message


ETL = "tests.spark_io.sensor_etl.without_time"


# Spark's own tables


@pytest.fixture
def view(spark: SparkSession) -> str:
    """A reading every three minutes of three hours."""
    rows = [
        (100 * h + n, f"s{n % 5}", float(n), (FIRST_HOUR + h) * HOUR_MS + n * HOUR_MS // 20)
        for h in (0, 1, 3)
        for n in range(20)
    ]
    frame = spark.createDataFrame(rows, [*COLUMNS, "at"])
    frame.createOrReplaceTempView("readings_of_a_day")
    return "readings_of_a_day"


def test_a_window_of_a_spark_table(run, tmp_path: Path, view: str) -> None:
    source = TableSource(view, span="hour", span_column="at", span_type="ms")
    run(sources={"readings": source}, etl=ETL, length=2, last=FIRST_HOUR + 1)
    assert published(tmp_path) == [*range(20), *range(100, 120)]


def test_sql(run, spark, tmp_path: Path, view: str) -> None:
    source = TableSource(query=f"SELECT reading, sensor, value FROM {view} WHERE value >= 10")
    before = fingerprint(spark, source)
    assert before == fingerprint(spark, source)
    run(sources={"readings": source}, etl=ETL)
    assert published(tmp_path) == [100 * h + n for h in (0, 1, 3) for n in range(10, 20)]


def test_no_such_table(run) -> None:
    message = failure(run, sources={"readings": TableSource("nowhere_at_all")}, etl=ETL)
    assert "nowhere_at_all" in message
    assert "\n" not in message


# Splits by time


@pytest.fixture
def run_cut(run, view: str):
    """The readings of two hours, split by time."""
    source = TableSource(view, span="hour", span_column="at", span_type="ms")

    def run_them(cut: TimeCut) -> None:
        run(
            sources={"readings": source},
            etl="tests.spark_io.sensor_etl.as_they_are",
            length=2,
            last=FIRST_HOUR + 1,
            time_cut=dataclasses.asdict(cut),
        )

    return run_them


@pytest.mark.parametrize("cuts", ["-1h", ["-1h", "-30m"]], ids=str)
def test_splits_by_time(run_cut, tmp_path: Path, cuts: str | list[str]) -> None:
    cut = TimeCut("at", cuts, unit="ms")
    run_cut(cut)

    def times(split: str) -> list[int]:
        examples = read_split(tmp_path, split)
        return sorted(e.features.feature["at"].int64_list.value[0] for e in examples)

    found = [times(split) for split in cut.splits]
    assert [len(split) for split in found] == ([20, 20] if cuts == "-1h" else [20, 10, 10])
    hour = (FIRST_HOUR + 1) * HOUR_MS
    moments = [hour, hour + HOUR_MS // 2]
    for moment, before, after in zip(moments, found, found[1:], strict=False):
        assert max(before) < moment <= min(after)


def test_cuts_in_the_wrong_order(run_cut) -> None:
    with pytest.raises(ComponentError, match="cut at -30m and then at -1h, which is not later"):
        run_cut(TimeCut("at", ["-30m", "-1h"], unit="ms"))


def test_mistakes_are_found_before_anything_runs() -> None:
    for make, message in [
        (lambda: JdbcSource("t", url="jdbc:mysql://u:secret@h/d"), "the url holds a password"),
        (lambda: JdbcSource("t", url="jdbc:sqlserver://h;PWD=x"), "the url holds a password"),
        (lambda: JdbcSource("t", url="jdbc:x://h/d?accessToken=x"), "the url holds a password"),
        (
            lambda: JdbcSource("t", url="jdbc:oracle:thin:scott/tiger@h:1:x"),
            "the url holds a password",
        ),
        (
            lambda: FileSource("parquet", "s3a://KEY:SECRET@bucket/*.parquet"),
            "the path holds a secret",
        ),
        (
            lambda: SparkConfig(conf={"spark.executorEnv.DB_PASSWORD": "x"}),
            "holds a secret, and the conf",
        ),
        (
            lambda: SparkConfig(conf={"spark.sql.catalog.c.token": "x"}),
            "holds a secret, and the conf",
        ),
        (lambda: TableSource("t", options={"a": "b"}), "takes no options"),
        (lambda: JdbcSource("t", url="mysql://h/d"), "must start with jdbc:"),
        (lambda: JdbcSource("t", url="jdbc:x", options={"password": "x"}), "holds a secret"),
        (lambda: JdbcSource("t", "q", url="jdbc:x"), "either `table` or `query`"),
        (lambda: JdbcSource("t", url="jdbc:x", partitions=4), "`partition_column`"),
        (lambda: TableSource("t", span="hour"), "needs `span_column`"),
        (lambda: TableSource(query="SELECT 1", span="day"), ":span_begin and :span_end"),
        (lambda: TableSource("t", span="week", span_column="at"), "span must be 'day' or 'hour'"),
        (lambda: KafkaSource("h:1", "t", {}), "needs `columns`"),
        (lambda: KafkaSource("h:1", "t", {"a": "int"}, span="day", start={"0": 1}), "leave out"),
        (
            lambda: FileSource("json", "a", {"a": "int"}, options={"multiLine": "true"}),
            "not allowed",
        ),
        (lambda: TimeCut("t", "noon"), "a cut must be like"),
        (lambda: TimeCut("t", "-6h", unit="ns"), "unit must be s, ms or us"),
        (lambda: TimeCut("t", []), "0 cuts in time need 1 splits"),
        (lambda: TimeCut("t", ["-3h", "-2h", "-1h"]), "3 cuts in time need 4 splits"),
        (lambda: TimeCut("t", "-6h", splits=["train", "train"]), "with different names"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
