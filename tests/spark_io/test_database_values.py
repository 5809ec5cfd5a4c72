"""Values arrive exactly as a database holds them, or the row or the column is an error."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from dev_services.mariadb import Mariadb
from dev_services.postgresql import Postgresql
from spark_io.connectors.connector import InputLocation
from spark_io.jobs.errors import explain
from spark_io.sources.inputs import find_inputs
from spark_io.sources.reading import read_source
from spark_io.sources.source_types import JdbcSource
from spark_io.sources.spans import SpanRange

pytestmark = pytest.mark.integration

REJECTED = "rejected"
NOON = dt.datetime(2024, 3, 1, 12, 30)
MARCH = dt.date(2024, 3, 1)

# (type, literal, value), or the message as a regular expression; S10 of the cases is among them.
MARIADB: list[tuple[str, str, Any]] = [
    ("DATE", "'2024-03-01'", MARCH),
    ("DATE", "'2024-00-00'", REJECTED),
    ("DATE", "'0000-00-00'", REJECTED),
    ("DATE", "'2024-02-00'", REJECTED),
    ("DATE", "NULL", None),
    ("DATETIME(6)", "'2024-03-01 12:30:00.123456'", NOON.replace(microsecond=123456)),
    ("DATETIME", "'0000-00-00 00:00:00'", REJECTED),
    ("DATETIME", "'2024-00-00 00:00:00'", REJECTED),
    ("TIMESTAMP NULL", "'2024-03-01 12:30:00'", NOON),
    ("TIME", "'30:00:00'", re.compile("column 'v' is a time of day, which no feature holds")),
    ("YEAR", "2024", 2024),
    ("TINYINT UNSIGNED", "200", 200),
    ("SMALLINT UNSIGNED", "65535", 65535),
    ("MEDIUMINT", "-8388608", -8388608),
    ("INT UNSIGNED", "4294967295", 4294967295),
    ("BIGINT UNSIGNED", "18446744073709551615", Decimal(18446744073709551615)),
    ("BIT(1)", "1", True),
    ("DECIMAL(5,2)", "1.23", Decimal("1.23")),
    ("DECIMAL(65,30)", "1.5", Decimal("1.5")),
    # Spark 3.5 keeps the digits behind the point, Spark 4.1 those before: others are rejected.
    ("DECIMAL(65,30)", "0." + 29 * "0" + "1", (Decimal("1e-30"), REJECTED)),
    ("DECIMAL(65,30)", "9" * 20 + ".5", (Decimal("9" * 20 + ".5"), REJECTED)),
    ("DECIMAL(65,0)", "9" * 60, REJECTED),
    ("DOUBLE", "1e300", 1e300),
    ("VARCHAR(9)", "'1.10'", "1.10"),
    ("ENUM('a','longer')", "'a'", "a"),
    ("SET('a','b')", "'a'", "a"),
    ("CHAR(4)", "'a'", "a"),
    ("FLOAT", "16777215", 16777215.0),
    ("FLOAT", "1234567.8", 1234567.75),
    ("VARBINARY(4)", "x'00ff'", bytearray(b"\x00\xff")),
]
POSTGRESQL: list[tuple[str, str, Any]] = [
    ("DATE", "'2024-03-01'", MARCH),
    ("DATE", "'infinity'", REJECTED),
    ("DATE", "'0044-03-15 BC'", REJECTED),
    ("DATE", "NULL", None),
    ("TIMESTAMP", "'2024-03-01 12:30:00.123456'", NOON.replace(microsecond=123456)),
    ("TIMESTAMP", "'-infinity'", REJECTED),
    ("TIMESTAMPTZ", "'2024-03-01 13:30:00+01'", NOON),
    ("TIMESTAMPTZ", "'infinity'", REJECTED),
    ("TIME", "'10:30'", re.compile("column 'v' is a time of day, which no feature holds")),
    ("NUMERIC", "1.5", Decimal("1.5")),
    ("NUMERIC", "1e-30", REJECTED),
    ("NUMERIC", "1e30", REJECTED),
    ("NUMERIC", "'NaN'", REJECTED),
    ("NUMERIC(5,2)", "1.23", Decimal("1.23")),
    ("NUMERIC(5,2)", "'NaN'", REJECTED),
    (
        "NUMERIC[]",
        "'{1.5}'",
        re.compile("'v' is array<decimal.* whose values the driver may change"),
    ),
    (
        "DATE[]",
        "'{infinity}'",
        re.compile("'v' is array<date>, whose values the driver may change"),
    ),
    ("TEXT[]", "'{a,b}'", ["a", "b"]),
    ("TEXT[][]", "'{{a,b},{c,d}}'", ([["a", "b"], ["c", "d"]], REJECTED)),
    ("BIGINT", "9223372036854775807", 2**63 - 1),
    ("BOOLEAN", "true", True),
    ("REAL", "1.5", 1.5),
    ("DOUBLE PRECISION", "'NaN'", float("nan")),
    ("UUID", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("BYTEA", "'\\x00ff'", bytearray(b"\x00\xff")),
]

Execute = Callable[..., None]


def database(
    spark: SparkSession, service: Mariadb | Postgresql, monkeypatch: pytest.MonkeyPatch
) -> tuple[Execute, Callable[..., JdbcSource]]:
    monkeypatch.setenv("READINGS_PASSWORD", service.password)
    jvm: Any = spark._jvm
    # By Spark's class loader: the drivers are among the session's jars.
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    url = service.jdbc_url
    name = "org.mariadb.jdbc.Driver" if "mysql" in url else "org.postgresql.Driver"
    login = jvm.java.util.Properties()
    for key, value in (("user", service.user), ("password", service.password)):
        login.setProperty(key, value)
    driver = jvm.java.beans.Beans.instantiate(loader, name)
    statement = driver.connect(url, login).createStatement()

    def execute(*queries: str) -> None:
        for query in queries:
            statement.execute(query)

    def source(**fields: Any) -> JdbcSource:
        user, url = service.user, service.jdbc_url
        return JdbcSource(url=url, user=user, password_env="READINGS_PASSWORD", **fields)

    return execute, source


def check(spark: SparkSession, source: JdbcSource, wanted: Any) -> None:
    if isinstance(wanted, re.Pattern):
        with pytest.raises(Exception) as caught:
            find_inputs({"s": source}, SpanRange(), InputLocation("", spark))
        assert wanted.search(explain(caught.value))
        return
    found = find_inputs({"s": source}, SpanRange(), InputLocation("", spark)).primary
    rows = read_source(spark, "s", source, found, "", True)
    assert rows.checksum == found.facts["checksum"]
    values = {row["n"]: row["v"] for row in rows.rows.collect()}
    assert rows.read == 2
    value = values.get(1, REJECTED)
    if isinstance(wanted, tuple):  # one or the other, by Spark's version
        wanted = next((one for one in wanted if one == value), wanted[0])
    assert value == wanted or str(value) == str(wanted)  # NaN is not itself
    assert type(value) is type(wanted) or isinstance(wanted, bytearray)
    if wanted is REJECTED:
        assert rows.rejected is not None
        assert [row["_reason"] for row in rows.rejected.collect()] == ["unparseable"]


@pytest.mark.parametrize(("kind", "literal", "wanted"), MARIADB)
def test_mariadb(
    spark: SparkSession, mariadb_service: Mariadb, monkeypatch, kind: str, literal: str, wanted: Any
) -> None:
    execute, source = database(spark, mariadb_service, monkeypatch)
    execute(
        "SET SESSION sql_mode = ''",
        f"CREATE OR REPLACE TABLE values_of_a_type (n INT, v {kind})",
        f"INSERT INTO values_of_a_type VALUES (0, NULL), (1, {literal})",
    )
    check(spark, source(table="values_of_a_type"), wanted)


@pytest.mark.parametrize(("kind", "literal", "wanted"), POSTGRESQL)
def test_postgresql(
    spark: SparkSession,
    postgresql_service: Postgresql,
    monkeypatch,
    kind: str,
    literal: str,
    wanted: Any,
) -> None:
    execute, source = database(spark, postgresql_service, monkeypatch)
    execute(
        "DROP TABLE IF EXISTS values_of_a_type",
        f"CREATE TABLE values_of_a_type (n INT, v {kind})",
        f"INSERT INTO values_of_a_type VALUES (0, NULL), (1, {literal})",
    )
    check(spark, source(table="values_of_a_type"), wanted)


def test_names_that_a_table_may_not_have(
    spark: SparkSession, postgresql_service: Postgresql, monkeypatch
) -> None:
    execute, source = database(spark, postgresql_service, monkeypatch)
    for names, message in (
        ('n INT, "_reason" TEXT', "column '_reason' has a reserved name"),
        ('n INT, "N" INT', "two columns have one name or differ only in upper and lower"),
    ):
        execute("DROP TABLE IF EXISTS odd_names", f"CREATE TABLE odd_names ({names})")
        with pytest.raises(Exception, match=message):
            find_inputs({"s": source(table="odd_names")}, SpanRange(), InputLocation("", spark))
    with pytest.raises(ValueError, match="needs a span_type with a time"):
        source(table="t", span="hour", span_column="d", span_type="date")


def test_parts_by_a_date_and_odd_names(
    spark: SparkSession, mariadb_service: Mariadb, postgresql_service: Postgresql, monkeypatch
) -> None:
    for service, quote in ((mariadb_service, "`"), (postgresql_service, '"')):
        execute, source = database(spark, service, monkeypatch)
        name = f"{quote}the day.of{quote}"
        days = ", ".join(f"({n}, '2024-03-{n + 1:02d}')" for n in range(20))
        execute(
            "DROP TABLE IF EXISTS by_day",
            f"CREATE TABLE by_day (n INT, {name} DATE)",
            f"INSERT INTO by_day VALUES {days}",
        )
        columns = {"n": "int", "the day.of": "date"}
        parts = source(table="by_day", columns=columns, partition_column=name, partitions=3)
        found = find_inputs({"s": parts}, SpanRange(), InputLocation("", spark)).primary
        rows = read_source(spark, "s", parts, found, "", True).rows
        assert rows.rdd.getNumPartitions() == 3
        found_days = sorted((row[0], row[1].day) for row in rows.collect())
        assert found_days == [(n, n + 1) for n in range(20)]


@pytest.mark.parametrize("at", ["'0000-00-00'", "'2024-00-00'"])
def test_a_whole_column_of_dates_that_are_none(
    spark: SparkSession, mariadb_service: Mariadb, monkeypatch, at: str
) -> None:
    execute, source = database(spark, mariadb_service, monkeypatch)
    execute(
        "SET SESSION sql_mode = ''",
        "CREATE OR REPLACE TABLE values_of_a_type (n INT, v DATE)",
        f"INSERT INTO values_of_a_type VALUES (0, {at}), (1, {at})",
    )
    none = source(table="values_of_a_type", columns={"n": "int", "v": "date"})
    found = find_inputs({"s": none}, SpanRange(), InputLocation("", spark)).primary
    with pytest.raises(Exception, match="none of its 2 rows is readable"):
        read_source(spark, "s", none, found, "", True)
