"""Every option that a source may set does what it says, and no other may be set."""

from __future__ import annotations

from typing import Any

import pytest

from spark_io.sources.options import FILE_OPTIONS
from spark_io.sources.source_types import FileSource, JdbcSource, KafkaSource, SparkConfig
from tests.spark_io.readings import Read

pytestmark = pytest.mark.component

COLUMNS = {"n": "int", "v": "string"}
NUMBERS = {"n": "int", "v": "double"}
# (format, option, value, file rejected or read otherwise without it, columns, the rows with it);
# dateFormat and its like are in test_text_values.py.
OPTIONS: list[tuple[str, str, str, str, dict[str, str], list[Any]]] = [
    ("json", "allowComments", "true", '/* c */ {"n": 1, "v": "a"}', COLUMNS, [(1, "a")]),
    ("json", "allowSingleQuotes", "true", "{'n': 1, 'v': 'a'}", COLUMNS, [(1, "a")]),
    ("json", "allowUnquotedFieldNames", "true", '{n: 1, v: "a"}', COLUMNS, [(1, "a")]),
    ("json", "allowNumericLeadingZeros", "true", '{"n": 01, "v": "a"}', COLUMNS, [(1, "a")]),
    ("json", "allowUnquotedControlChars", "true", '{"n": 1, "v": "a\tb"}', COLUMNS, [(1, "a\tb")]),
    (
        "json",
        "allowBackslashEscapingAnyCharacter",
        "true",
        '{"n": 1, "v": "\\q"}',
        COLUMNS,
        [(1, "q")],
    ),
    ("json", "allowNonNumericNumbers", "false", '{"n": 1, "v": NaN}', NUMBERS, []),
    ("csv", "sep", ";", "n;v\n1;a,b", COLUMNS, [(1, "a,b")]),
    ("csv", "delimiter", ";", "n;v\n1;a,b", COLUMNS, [(1, "a,b")]),
    ("csv", "quote", "'", "n,v\n1,'a,b'", COLUMNS, [(1, "a,b")]),
    ("csv", "quote", "'", "n,v\n1,'it''s \"a\"'", COLUMNS, [(1, 'it\'s "a"')]),
    ("csv", "escape", "\\", 'n,v\n1,"a\\",b"', COLUMNS, [(1, 'a",b')]),
    ("csv", "comment", "#", "# none\nn,v\n# none\n1,a", COLUMNS, [(1, "a")]),
    ("csv", "nanValue", "-999", "n,v\n1,-999", NUMBERS, [(1, float("nan"))]),
    ("csv", "sep", "\\u0001", "n\x01v\n1\x01a", COLUMNS, [(1, "a")]),
    ("csv", "nullValue", "NA", "n,v\nNA,a\n1,NA", COLUMNS, [(None, "a"), (1, None)]),
    ("csv", "positiveInf", "huge", "n,v\n1,huge", NUMBERS, [(1, float("inf"))]),
    ("csv", "negativeInf", "tiny", "n,v\n1,tiny", NUMBERS, [(1, float("-inf"))]),
    ("csv", "ignoreLeadingWhiteSpace", "true", "n,v\n 1, a", COLUMNS, [(1, "a")]),
    ("csv", "ignoreTrailingWhiteSpace", "true", "n,v\n1 ,a ", COLUMNS, [(1, "a")]),
]
IN_OTHER_TESTS = {
    "dateFormat",
    "timestampFormat",
    "timestampNTZFormat",
    "multiLine",
    "nanValue",  # below
    "datetimeRebaseMode",  # below
    "int96RebaseMode",
}


@pytest.mark.parametrize(
    ("form", "option", "value", "text", "columns", "wanted"),
    OPTIONS,
    ids=[f"{row[0]}-{row[1]}" for row in OPTIONS],
)
def test_an_option_does_what_it_says(
    read: Read, form: str, option: str, value: str, text: str, columns: Any, wanted: Any
) -> None:
    fields = {"format": form, "columns": columns, "may_be_null": list(columns)}
    if not wanted:  # it refuses what is read without it
        assert len(read(f"a.{form}", f"{text}\n", **fields)[0]) == 1
        text += '\n{"n": 2, "v": 2.0}'
        wanted = [(2, 2.0)]
    rows, _ = read(f"a.{form}", f"{text}\n", **fields, options={option: value})
    assert sorted(map(str, rows)) == sorted(map(str, wanted))


def test_multi_line_csv_has_the_same_options(read: Read) -> None:
    text = "# none\nn;v\n# none\n1;'a\n''b'\nNA;c\n"
    options = {"multiLine": "true", "sep": ";", "quote": "'", "comment": "#"}
    rows, _ = read(
        "a.csv", text, format="csv", columns=COLUMNS, options={**options, "nullValue": "NA"}
    )
    assert sorted(map(str, rows)) == sorted(map(str, [(1, "a\n'b"), (None, "c")]))


def test_a_word_for_not_a_number(read: Read) -> None:
    rows, _ = read(
        "a.csv", "n,v\n1,none\n", format="csv", columns=NUMBERS, options={"nanValue": "none"}
    )
    assert str(rows) == "[(1, nan)]"


@pytest.mark.parametrize("form", ["parquet", "avro"])
def test_how_old_dates_are_rebased(read: Read, spark: Any, tmp_path: Any, form: str) -> None:
    mode = f"spark.sql.{form}.datetimeRebaseModeInWrite"
    spark.conf.set(mode, "CORRECTED")
    rows = spark.sql("SELECT 1 n, date'1500-03-01' v").coalesce(1)
    rows.write.format(form).save(str(tmp_path / "w"))
    spark.conf.unset(mode)
    (path,) = (tmp_path / "w").glob(f"part-*.{form}")
    fields = {"format": form, "columns": {"n": "int", "v": "date"}}
    options = {"datetimeRebaseMode": "CORRECTED"}
    if form == "parquet":
        options["int96RebaseMode"] = "CORRECTED"
    rows, _ = read(f"a.{form}", path.read_bytes(), **fields, options=options)
    assert str(rows[0][1]) == "1500-03-01"


def test_every_allowed_option_is_tested() -> None:
    tested = {(form, option) for form, option, *_ in OPTIONS}
    for form, allowed in FILE_OPTIONS.items():
        for option in allowed - IN_OTHER_TESTS:
            assert (form, option) in tested, f"{form}: {option}"


@pytest.mark.parametrize(
    "option",
    [
        "pathGlobFilter",
        "recursiveFileLookup",
        "modifiedAfter",
        "ignoreCorruptFiles",
        "ignoreMissingFiles",
        "mergeSchema",
        "basePath",
        "mode",
        "compression",
        "columnNameOfCorruptRecord",
        "inferSchema",
        "enforceSchema",
        "samplingRatio",
        "lineSep",
        "encoding",
        "locale",
        "timeZone",
        "maxColumns",
        "avroSchema",
        "unescapedQuoteHandling",
    ],
)
@pytest.mark.parametrize("form", list(FILE_OPTIONS))
def test_an_option_that_changes_what_is_read_is_refused(form: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"option '{option}' is not allowed for {form}: the"):
        FileSource(form, "a/*", {"n": "int"}, options={option: "x"})


def test_what_every_csv_file_has_may_be_said() -> None:
    options = {"header": "true", "encoding": "UTF-8"}
    FileSource("csv", "a", {"n": "int"}, options=options)
    with pytest.raises(ValueError, match="'header' is not allowed for csv"):
        FileSource("csv", "a", {"n": "int"}, options={"header": "false"})
    with pytest.raises(ValueError, match="either `sep` or `delimiter`"):
        FileSource("csv", "a", {"n": "int"}, options={"sep": ";", "delimiter": ","})


@pytest.mark.parametrize(("form", "option"), [("csv", "multiLine"), ("json", "allowComments")])
def test_a_switch_is_true_or_false(form: str, option: str) -> None:
    with pytest.raises(ValueError, match=f"'{option}' must be 'true' or 'false'. Received: 'yes'"):
        FileSource(form, "a", {"n": "int"}, options={option: "yes"})


@pytest.mark.parametrize("option", ["ignoreLeadingWhiteSpace", "ignoreTrailingWhiteSpace"])
def test_options_that_multi_line_csv_has_not(option: str) -> None:
    options = {"multiLine": "true", option: "true"}
    with pytest.raises(ValueError, match=f"'{option}' is not allowed together with multiLine"):
        FileSource("csv", "a", {"n": "int"}, options=options)
    with pytest.raises(ValueError, match="a quote within quotes must be written twice"):
        FileSource("csv", "a", {"n": "int"}, options={"multiLine": "true", "escape": "\\"})
    with pytest.raises(ValueError, match="`sep` must be one character"):
        FileSource("csv", "a", {"n": "int"}, options={"multiLine": "true", "sep": "||"})


@pytest.mark.parametrize(
    "option", ["customSchema", "dbtable", "pushDownLimit", "numPartitions", "sessionInitStatement"]
)
def test_what_a_database_source_decides_itself(option: str) -> None:
    with pytest.raises(ValueError, match=f"option '{option}' is not allowed for a database"):
        JdbcSource("t", url="jdbc:mysql://h/d", options={option: "x"})
    JdbcSource("t", url="jdbc:mysql://h/d", options={"fetchsize": "10", "sslMode": "trust"})


@pytest.mark.parametrize("option", ["startingOffsets", "failOnDataLoss", "subscribePattern"])
def test_what_a_kafka_source_decides_itself(option: str) -> None:
    with pytest.raises(ValueError, match=f"option '{option}' is not allowed for Kafka"):
        KafkaSource("h:9092", "t", {"n": "int"}, options={option: "x"})
    KafkaSource("h:9092", "t", {"n": "int"}, options={"minPartitions": "4", "kafka.x": "y"})
    with pytest.raises(ValueError, match="read_committed or read_uncommitted"):
        KafkaSource("h:9092", "t", {"n": "int"}, options={"kafka.isolation.level": "none"})


@pytest.mark.parametrize(
    "key", ["spark.sql.files.ignoreCorruptFiles", "spark.sql.files.ignoreMissingFiles"]
)
def test_settings_that_skip_files_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="would make Spark skip unreadable files"):
        SparkConfig(conf={key: "true"})
    SparkConfig(conf={key: "false"})
