"""The Spark job on real Spark: what is read is published or explained, every row of it."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_io.sources.source_types import FileSource
from tests.spark_io.readings import COLUMNS, failure, read_split, reading, write_readings

pytestmark = pytest.mark.component


def test_every_row_is_published_once_or_accounted_for(run, tmp_path: Path) -> None:
    rows = [reading(n) for n in range(100)]
    write_readings(tmp_path, [*rows, reading(3), '{"reading": 7, "sen', reading(200, 1e6)])
    manifest = run(splits={"feature": "sensor"})
    assert manifest["rows"] == {
        "read": 103,
        "splits": manifest["rows"]["splits"],
        "quarantined": 2,
        "dropped": 1,
    }
    assert manifest["quarantined"] == {"readings": {"too_hot": 1, "unparseable": 1}}
    examples = [*read_split(tmp_path, "train"), *read_split(tmp_path, "eval")]
    numbers = [e.features.feature["reading"].int64_list.value[0] for e in examples]
    assert sorted(numbers) == list(range(100))


def test_zeros_are_kept(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n, 0.0) for n in range(30)])
    run()
    example = read_split(tmp_path, "train")[0]
    assert list(example.features.feature["value"].float_list.value) == [0.0]


def test_a_sensor_lies_in_one_split(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(100)])
    run(splits={"feature": "sensor"})

    def sensors(split: str) -> set[bytes]:
        examples = read_split(tmp_path, split)
        return {e.features.feature["sensor"].bytes_list.value[0] for e in examples}

    assert sensors("train") & sensors("eval") == set()


def test_split_folders_hold_data_files_only_and_the_manifest_describes_them(
    run, tmp_path: Path
) -> None:
    write_readings(tmp_path, [reading(n) for n in range(100)])
    manifest = (
        json.loads((tmp_path / "out" / "examples" / "manifest.json").read_text()) if run() else {}
    )
    names = {p.name for p in (tmp_path / "out" / "examples").iterdir()}
    assert names == {"Split-train", "Split-eval", "manifest.json"}
    for split, files in manifest["splits"].items():
        folder = tmp_path / "out" / "examples" / f"Split-{split}"
        on_disk = {p.name: p.stat().st_size for p in folder.iterdir()}
        assert on_disk == {f["file"]: f["bytes"] for f in files}
        assert sum(f["rows"] for f in files) == manifest["rows"]["splits"][split]


def test_the_quarantine_keeps_the_record_and_the_reason(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [*[reading(n) for n in range(50)], "not json", reading(99, 500.0)])
    run()
    lines = []
    for path in (tmp_path / "out" / "quarantine" / "records").iterdir():
        lines += [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines.sort(key=lambda line: line["reason"])
    assert lines == [
        {
            "source": "readings",
            "reason": "too_hot",
            "record": json.dumps(reading(99, 500.0)),
        },
        {"source": "readings", "reason": "unparseable", "record": "not json"},
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet", "orc"])
def test_other_formats_give_the_same_rows(run, spark, tmp_path: Path, kind: str) -> None:
    rows = spark.createDataFrame([(n, f"s{n % 5}", float(n)) for n in range(60)], list(COLUMNS))
    writer = rows.coalesce(1).write.option("header", "true")
    writer.format(kind).save(str(tmp_path / "readings"))
    source = FileSource(kind, f"readings/*.{kind}", COLUMNS)
    assert run(sources={"readings": source})["rows"]["read"] == 60


def test_a_csv_row_with_too_many_fields_goes_to_quarantine(run, tmp_path: Path) -> None:
    (tmp_path / "readings").mkdir()
    lines = ["reading,sensor,value", *[f"{n},s{n % 5},1.5" for n in range(40)], "41,s1,warm,1,2"]
    (tmp_path / "readings" / "a.csv").write_text("\n".join(lines) + "\n")
    source = FileSource("csv", "readings/*.csv", COLUMNS)
    manifest = run(sources={"readings": source})
    assert manifest["quarantined"] == {"readings": {"unparseable": 1}}


def test_a_missing_column_is_named(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [{"reading": n, "value": 1.0} for n in range(9)])
    message = failure(run)
    assert "source 'readings' has no column 'sensor'" in message
    assert "reading, value" in message


def test_a_missing_column_in_parquet_is_named(run, spark, tmp_path: Path) -> None:
    rows = spark.range(5).withColumnRenamed("id", "reading").coalesce(1)
    rows.write.parquet(str(tmp_path / "readings"))
    source = FileSource("parquet", "readings/*.parquet", COLUMNS)
    assert "no column 'sensor'" in failure(run, sources={"readings": source})


def test_an_empty_source(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [])
    assert "source 'readings' is empty" in failure(run)


def test_the_wrong_format(run, tmp_path: Path) -> None:
    write_readings(tmp_path, ["a,b,c", "1,2,3"])
    assert "none of its 2 rows is readable as json" in failure(run)


def test_an_etl_that_loses_rows_is_stopped(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n, float(n)) for n in range(100)])
    assert "rows do not add up: 100 read" in failure(
        run, etl="tests.spark_io.sensor_etl.loses_rows"
    )
    assert (
        run(etl="tests.spark_io.sensor_etl.loses_rows", row_accounting="off")["rows"]["read"] == 100
    )


def test_an_etl_that_uses_an_unknown_column(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(10)])
    message = failure(run, etl="tests.spark_io.sensor_etl.uses_unknown_column")
    assert "a column 'colour' that does not exist" in message


def test_a_type_no_feature_can_hold(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(10)])
    assert "column 'both' has Spark type struct" in failure(
        run, etl="tests.spark_io.sensor_etl.returns_nested"
    )


def test_too_many_bad_rows_stop_the_run_and_publish_nothing(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n, 500.0 if n % 2 else 1.0) for n in range(100)])
    assert "too_hot 50" in failure(run, max_quarantine_fraction=0.1)
    visible = [
        p.name for p in (tmp_path / "out" / "examples").iterdir() if not p.name.startswith(".")
    ]
    assert visible == []


def test_a_gzip_file_cut_short_is_named(run, tmp_path: Path) -> None:
    path = write_readings(tmp_path, [reading(n) for n in range(5000)])
    path.write_bytes(path.read_bytes()[:2000])
    message = failure(run)
    assert "cut short or damaged" in message


def test_a_partition_feature_that_is_no_column(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [reading(n) for n in range(10)])
    assert "partition feature 'user' is not a column" in failure(run, splits={"feature": "user"})


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[None]:
    """The artifacts on a file system of 64 KiB (needs root, as in our containers and CI)."""
    folder = tmp_path / "out"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_publishes_nothing(run, tmp_path: Path, tiny_disk) -> None:
    chance = random.Random(3)
    rows = [{**reading(n), "sensor": chance.randbytes(40).hex()} for n in range(5000)]
    write_readings(tmp_path, rows)
    message = failure(run)
    assert "the disk is full" in message
    assert "\n" not in message
    visible = [
        p.name for p in (tmp_path / "out" / "examples").iterdir() if not p.name.startswith(".")
    ]
    assert visible == []


def csv_failure(run, tmp_path: Path, *texts: str) -> str:
    (tmp_path / "readings").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "readings" / f"{number}.csv").write_text(text)
    return failure(run, sources={"readings": FileSource("csv", "readings/*.csv", COLUMNS)})


def test_a_csv_without_a_column_names_it(run, tmp_path: Path) -> None:
    message = csv_failure(run, tmp_path, "reading,value\n1,2.5\n")
    assert "source 'readings' has no column 'sensor'" in message


def test_csv_files_with_different_columns_are_named(run, tmp_path: Path) -> None:
    texts = ("reading,sensor,value\n1,s,2\n", "sensor,reading,value\ns,1,2\n")
    message = csv_failure(run, tmp_path, *texts)
    assert "1.csv has the columns sensor, reading, value" in message


def test_csv_columns_go_by_name_and_others_are_left_alone(run, tmp_path: Path) -> None:
    (tmp_path / "readings").mkdir()
    lines = ["value,colour,reading,sensor", *[f"{n}.5,red,{n},s{n % 5}" for n in range(40)]]
    (tmp_path / "readings" / "a.csv").write_text("\n".join(lines) + "\n")
    source = FileSource("csv", "readings/*.csv", COLUMNS)
    assert run(sources={"readings": source})["rows"]["read"] == 40
    example = read_split(tmp_path, "train")[0].features.feature
    assert set(example) == {"reading", "sensor", "value"}
    assert example["value"].float_list.value[0] == example["reading"].int64_list.value[0] + 0.5


def test_a_parquet_column_of_another_type_is_named(run, spark, tmp_path: Path) -> None:
    rows = spark.createDataFrame([(1, "s", "warm")], list(COLUMNS))
    rows.write.parquet(str(tmp_path / "readings"))
    source = FileSource("parquet", "readings/*.parquet", COLUMNS)
    message = failure(run, sources={"readings": source})
    assert "column 'value' is string in the data, but `columns` says double" in message


def test_a_split_may_have_any_name(run, tmp_path: Path) -> None:
    write_readings(tmp_path, [*(reading(n) for n in range(40)), "{"])
    manifest = run(splits={"names": ["quarantine", "examples"]})
    assert set(manifest["rows"]["splits"]) == {"quarantine", "examples"}
    assert len(read_split(tmp_path, "quarantine")) + len(read_split(tmp_path, "examples")) == 40
