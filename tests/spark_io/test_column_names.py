"""Names of columns: any text is one, or the error says which are reserved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spark_io.sources.source_types import FileSource, KafkaSource, TableSource
from tests.spark_io.readings import COLUMNS, Read, failure, read_split

pytestmark = pytest.mark.component

ODD = ["user.id", "a`b", "a b", "ü", "100%", "a.b.c", "_parsed", "_raw", "_corrupt_record", "c0"]
AS_THEY_ARE = "tests.spark_io.sensor_etl.as_they_are"


def features(base: Any) -> list[Any]:
    examples = [*read_split(base, "train"), *read_split(base, "eval")]
    return [example.features.feature for example in examples]


@pytest.mark.parametrize("form", ["json", "csv", "parquet", "orc", "tfrecord"])
def test_an_odd_name_is_a_feature(run, spark, tmp_path, form: str) -> None:
    names = ["reading", *(n for n in ODD if form != "orc" or n not in ("a`b", "ü", "100%"))]
    folder = tmp_path / "d"
    folder.mkdir()
    rows = [[n, *[n + i for i in range(len(names) - 1)]] for n in range(30)]
    if form == "json":
        texts = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        (folder / "a.json").write_text("\n".join(texts))
    elif form == "csv":
        texts = [",".join(map(str, row)) for row in rows]
        (folder / "a.csv").write_text("\n".join([",".join(names), *texts]))
    elif form == "tfrecord":
        write_tfrecords(folder / "a.tfrecord", names, rows)
    else:
        schema = ", ".join(f"`{name.replace('`', '``')}` bigint" for name in names)
        frame = spark.createDataFrame(rows, schema).coalesce(1)
        frame.write.mode("overwrite").format(form).save(str(folder))
    source = FileSource(form, f"d/*.{form}", dict.fromkeys(names, "bigint"))
    run(sources={"readings": source}, etl=AS_THEY_ARE)
    found = features(tmp_path)
    assert len(found) == 30
    for feature in found:
        assert set(feature) == set(names)
        number = feature["reading"].int64_list.value[0]
        values = [feature[name].int64_list.value[0] for name in names[1:]]
        assert values == [number + i for i in range(len(names) - 1)]


def write_tfrecords(path: Any, names: list[str], rows: list[list[int]]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            feature = {
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                for name, value in zip(names, row, strict=True)
            }
            features = tf.train.Features(feature=feature)
            writer.write(tf.train.Example(features=features).SerializeToString())


def test_the_etl_makes_a_column_with_a_dot(run, spark, tmp_path) -> None:
    rows = [(n, f"s{n}", 1.0) for n in range(30)]
    spark.createDataFrame(rows, list(COLUMNS)).write.parquet(str(tmp_path / "p"))
    source = FileSource("parquet", "p/*.parquet", COLUMNS)
    run(
        sources={"readings": source},
        etl="tests.spark_io.sensor_etl.makes_a_dot",
        splits={"feature": "user.id"},
    )
    assert {feature["user.id"].bytes_list.value[0] for feature in features(tmp_path)} == {
        b"s%d" % n for n in range(30)
    }


@pytest.mark.parametrize("name", ["_source", "_record", "_outcome", "_reason", "_line", "_Source"])
@pytest.mark.parametrize("form", ["parquet", "orc", "avro"])
def test_a_reserved_name_in_the_data(run, spark, tmp_path, form: str, name: str) -> None:
    spark.range(30).withColumnRenamed("id", "reading").selectExpr(
        "reading", f"'x' AS {name}"
    ).coalesce(1).write.format(form).save(str(tmp_path / "p"))
    source = FileSource(form, f"p/*.{form}")
    message = failure(run, sources={"readings": source}, etl=AS_THEY_ARE)
    assert f"column '{name}' has a reserved name; reserved are _outcome, _reason" in message
    source = FileSource(form, f"p/*.{form}", {"reading": "bigint"})
    assert run(sources={"readings": source}, etl=AS_THEY_ARE)["rows"]["read"] == 30


def test_a_reserved_name_in_a_table(run, spark) -> None:
    spark.sql("SELECT id AS reading, 'x' AS _source FROM range(9)").createOrReplaceTempView("odd")
    source = TableSource("odd")
    assert "column '_source' has a reserved name" in failure(
        run, sources={"readings": source}, etl=AS_THEY_ARE
    )


@pytest.mark.parametrize("form", ["json", "csv", "tfrecord"])
def test_a_reserved_name_in_the_config(form: str) -> None:
    with pytest.raises(ValueError, match="column '_Record' has a reserved name"):
        FileSource(form, "a/*", {"_Record": "int"})
    with pytest.raises(ValueError, match="'a' and 'A' differ only in upper and lower case"):
        FileSource(form, "a/*", {"a": "int", "A": "int"})
    with pytest.raises(ValueError, match="column 'kafka_offset' has a reserved name"):
        KafkaSource("h:9092", "t", {"kafka_offset": "int"})


def test_columns_that_differ_only_in_case(read: Read, run, tmp_path) -> None:
    rows, _ = read("a.csv", "id,ID,t\n1,2,a\n", format="csv", columns={"ID": "int", "t": "string"})
    assert rows == [(2, "a")]
    (tmp_path / "readings").mkdir()
    (tmp_path / "readings" / "a.json").write_text('{"reading": 1}\n')
    source = FileSource("json", "readings/*", {"reading": "bigint"})
    message = failure(
        run,
        sources={"readings": source},
        etl="tests.spark_io.sensor_etl.makes_the_same_but_for_case",
    )
    assert "the ETL's result: columns 'reading' and 'Reading' differ only in" in message
    message = failure(
        run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.makes_a_reserved_name"
    )
    assert "the ETL's result: column '_SOURCE' has a reserved name" in message
    message = failure(
        run, sources={"readings": source}, etl="tests.spark_io.sensor_etl.makes_one_name_twice"
    )
    assert "two columns are named 'reading'; rename one in the ETL" in message


def test_a_null_in_an_array_names_the_column(run, tmp_path) -> None:
    (tmp_path / "readings").mkdir()
    lines = [json.dumps({"reading": n, "tags": ["a", None]}) for n in range(9)]
    (tmp_path / "readings" / "a.json").write_text("\n".join(lines))
    columns = {"reading": "bigint", "tags": "array<string>"}
    source = FileSource("json", "readings/*", columns)
    message = failure(run, sources={"readings": source}, etl=AS_THEY_ARE)
    assert message.startswith("column 'tags': an array holds a null, which no feature can hold")
