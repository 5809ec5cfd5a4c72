"""`new` on real tables: what Spark sees, and what the written application does with the rows."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from applications.commands.scaffold import writing
from applications.commands.scaffold.data_files import find_data_files
from applications.commands.scaffold.plan import Plan, make_plan
from applications.commands.scaffold.profile import TableProfile
from applications.commands.scaffold.profile_job import look_at
from base.errors import ComponentError
from pipeline.application import load_application
from pipeline.config import read_config
from spark_io.connectors import CONNECTORS
from spark_io.connectors.connector import InputLocation
from spark_io.examples.rows import EtlContext
from spark_io.sources.reading import read_source
from spark_io.sources.spans import SpanRange
from tests.applications.commands import tables

pytestmark = pytest.mark.component


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on Python's path."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.partition(".")[0].startswith("written_"):
            del sys.modules[name]


def written(
    spark: Any, data: Path, label: str, folder: Path, name: str, task: Any = None
) -> tuple[Plan, TableProfile, Path]:
    """Writes an application as `new` does; returns its plan, the profile and its config."""
    files = find_data_files(str(data))
    answer = look_at(spark, {"files": dataclasses.asdict(files), "label": label})
    profile = TableProfile.from_json(answer["profile"])
    plan = make_plan(profile, files.format, label, task, answer["skills"])
    contents = writing.render(name, name, f"{folder}/s.pbtxt", files, profile, plan)
    writing.write(folder / name, contents)
    importlib.invalidate_caches()
    return plan, profile, folder / name / "configs" / f"{name}.yaml"


def examples(spark: Any, config_path: Path, labelled: bool = True) -> list[dict[str, Any]]:
    """Reads the source of a config, and returns the rows of the application's ETL."""
    config = read_config(config_path)
    (name,) = config.sources
    source, root = config.sources[name], str(Path(config.data_root).resolve())
    found = CONNECTORS["file"].find(name, source, SpanRange(), InputLocation(root, spark))
    rows = read_source(spark, name, source, found, root, primary=True).rows
    build = importlib.import_module(f"{config.application}.application").build_examples
    result = build(spark, {name: rows}, EtlContext({}, (0,), labelled=labelled))
    return [row.asDict() for row in result.collect()]


def test_a_dirty_table_loses_no_row_and_guesses_no_label(spark, tmp_path, packages):
    data = tables.machines(tmp_path / "machines.csv")
    plan, profile, config = written(spark, data, "State", packages, "written_machines")
    assert (plan.task, plan.labels) == ("binary", {"fails": 1, "runs": 0})
    by_column = {one.column: one for one in plan.columns}
    assert by_column["Machine No"].treatment == "key"
    assert by_column["heat (°C)"].treatment == "number"
    assert by_column["line"].treatment == "text"
    assert by_column["checked on"].treatment == "time"
    assert by_column["repair"].treatment == "left out"
    load_application("written_machines")
    rows = examples(spark, config)
    assert len(rows) == profile.rows == 3000
    reasons = Counter(row["_reason"] for row in rows)
    assert reasons == {None: 2988, "missing_label": 8, "unknown_label": 4}
    kept = [row for row in rows if row["_reason"] is None]
    assert {row["State"] for row in kept} == {0, 1}
    assert all(row["heat_C"] is not None and row["Plant"] is not None for row in kept)
    assert sum(row["heat_C_missing"] for row in kept) == pytest.approx(75, abs=2)
    assert {row["line"] for row in kept} == {f"{number:03d}" for number in range(9)}


def test_rows_to_score_need_no_label(spark, tmp_path, packages):
    data = tables.machines(tmp_path / "machines.csv", rows=300)
    _, _, config = written(spark, data, "State", packages, "written_unlabelled")
    rows = examples(spark, config, labelled=False)
    assert len(rows) == 300
    assert "State" not in rows[0]
    assert {row["_reason"] for row in rows} == {None}


def test_json_lines_of_three_classes(spark, tmp_path, packages):
    data = tables.fruits(tmp_path / "fruits.jsonl")
    plan, _, config = written(spark, data, "fruit", packages, "written_fruits")
    assert (plan.task, plan.classes) == ("multiclass", ("apple", "melon", "plum"))
    assert plan.key is None
    assert {one.column: one.treatment for one in plan.columns}["tags"] == "left out"
    assert load_application("written_fruits").prediction == "probabilities"
    assert Counter(row["fruit"] for row in examples(spark, config)).keys() == {0, 1, 2}


def test_parquet_of_amounts(spark, tmp_path, packages):
    data = tables.rents(tmp_path / "rents.parquet")
    plan, _, config = written(spark, data, "rent", packages, "written_rents")
    assert plan.task == "regression"
    assert plan.key is not None
    assert plan.key.column == "flat_id"
    rows = examples(spark, config)
    assert len(rows) == 1200
    assert {row["flat_id"] for row in rows} == {10**12 + number for number in range(1200)}


def test_hostile_names_and_values_stay_data(spark, tmp_path, packages):
    data = tables.hostile(tmp_path / "hostile.csv")
    label = 'it\'s a "label": {x}'
    plan, _, config = written(spark, data, label, packages, "written_hostile")
    assert plan.key is None  # the price is different in each row by chance
    unused = {one.column for one in plan.having("left out")}
    assert unused == {"_source"}
    (source,) = read_config(config).sources.values()
    assert set(source.columns) == {*tables.HOSTILE, label} - unused
    loaded = load_application("written_hostile")
    assert loaded.features.classes == ('it\'s "yes"', "no\\")
    rows = examples(spark, config)
    assert Counter(row["_reason"] for row in rows) == {None: 300}
    names = {one.column: one.feature for one in plan.columns}
    values = {row[names["dots.and.more"]] for row in rows}
    assert {"'; DROP", "${HOME}", "{{ 1 }}", '"', "\\"} <= values


def test_columns_that_differ_in_case_only_are_one_line(spark, tmp_path):
    path = tmp_path / "same.csv"
    path.write_text("age,Age,label\n1,2,a\n")
    with pytest.raises(ComponentError, match="differ only in upper and lower case"):
        look_at(spark, {"files": dataclasses.asdict(find_data_files(str(path))), "label": "label"})


def test_an_unknown_label_names_the_closest_column(spark, tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("age,state\n1,a\n")
    with pytest.raises(ComponentError, match="Did you mean 'state'"):
        look_at(spark, {"files": dataclasses.asdict(find_data_files(str(path))), "label": "stat"})


def test_values_with_line_breaks_are_read_as_such(spark, tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text("".join(["n,text,label\n", *(f'{n},"a\nb",{n % 2}\n' for n in range(60))]))
    answer = look_at(
        spark, {"files": dataclasses.asdict(find_data_files(str(path))), "label": "label"}
    )
    assert answer["profile"]["options"] == {"multiLine": "true"}
    assert (answer["profile"]["rows"], answer["profile"]["unreadable"]) == (60, 0)
