"""`check` reports every problem at once, each in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from applications.commands.checks.everything import Found, look_at
from tests.product import ROOT

pytestmark = pytest.mark.unit

ETL = "def build_examples(spark, sources, context): ...\n"
APPLICATION = """
from tabular.feature_set import Categorical, FeatureSet, Numeric, Ordinal


def build_examples(spark, sources, context): ...


features = FeatureSet(
    label="late",
    keys=("train_no",),
    features=(Numeric("delay"), Categorical("line", vocabulary=10), Ordinal("day", size=7)),
)
"""
TYPES = {"train_no": "BYTES", "late": "INT", "delay": "FLOAT", "line": "BYTES", "day": "INT"}
CONFIG = {
    "name": "trains",
    "application": "written_trains",
    "data_root": "data",
    "schema": "trains.pbtxt",
    "sources": {
        "trains": {
            "format": "csv",
            "path": "*.csv",
            "columns": {"train_no": "string", "delay": "double", "line": "string", "day": "int"},
        }
    },
    "evaluator": {"label": "late", "prediction": "probability"},
}


def schema(types: dict[str, str], rest: str = "shape { dim { size: 1 } }") -> str:
    presence = "presence { min_fraction: 1 min_count: 1 }"
    return "".join(
        f'feature {{ name: "{name}" type: {kind} {presence} {rest} }}\n'
        for name, kind in types.items()
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an application, its config, schema and data, all of them right."""
    package = tmp_path / "written_trains"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "application.py").write_text(APPLICATION)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("train_no,delay,line,day\nx1,2.5,U1,3\n")
    (tmp_path / "trains.pbtxt").write_text(schema(TYPES))
    (tmp_path / "trains.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [one for one in sys.modules if one.startswith("written_trains")]:
        del sys.modules[name]


def found(*overrides: str) -> Found:
    return look_at("trains.yaml", overrides)


def only(*overrides: str) -> str:
    (problem,) = found(*overrides).problems
    assert "\n" not in problem
    return problem


def test_what_is_right_has_no_problem(folder):
    assert found() == Found([], [])


def test_problems_of_different_kinds_are_all_there(folder):
    (folder / "data" / "a.csv").write_text("train_no,delai,line,day\nx1,2.5,U1,Monday\n")
    wrong = found(
        "split.feature=train",
        "evaluator.slices=[[lines]]",
        "trainer.parameters.model=din",
        "evaluator.label=day",
    )
    texts = "\n".join(wrong.problems)
    for part in (
        "split.feature: 'train' is no feature",
        "evaluator.slices: 'lines' is no feature",
        "din needs at least one Sequence",
        "evaluator.label: the model of written_trains has 'late'",
        "no column 'delay'. Did you mean 'delai'",
        "none of the first 1 values of 'day' in a.csv is a int",
    ):
        assert part in texts
    assert len(wrong.problems) == 6


def test_all_wrong_keys_are_there(folder):
    wrong = found("evaluatr={}", "split.bucket={}", "spans.window=0", "spans.last=-1").problems
    keys = {line.partition(":")[0] for line in wrong}
    assert keys == {"evaluatr", "split.bucket", "spans.window", "spans.last"}


def test_a_missing_schema_names_the_command(folder):
    (folder / "trains.pbtxt").unlink()
    assert "python -m applications schema" in only()


def test_a_kind_that_does_not_fit_the_treatment(folder):
    (folder / "trains.pbtxt").write_text(schema({**TYPES, "delay": "BYTES", "day": "FLOAT"}))
    numeric, ordinal = found().problems
    assert (
        "'delay' is declared Numeric, so its type must be INT or FLOAT. Received: BYTES" in numeric
    )
    assert "'day' is declared Ordinal, so its type must be INT. Received: FLOAT" in ordinal


def test_a_feature_that_may_be_missing(folder):
    text = schema(TYPES).replace("min_fraction: 1 ", "", 3)
    (folder / "trains.pbtxt").write_text(text)
    late, delay = found().problems  # the first one is a key, which may be missing
    assert "'late' must have one value in every example" in late
    assert "'delay' must have one value in every example" in delay


def test_a_type_that_spark_does_not_know(folder):
    assert "Spark knows no type 'dobule'. Did you mean double" in only(
        "sources.trains.columns.delay=dobule"
    )


def test_a_folder_and_files_that_are_not_there(folder):
    assert "there is no folder nowhere" in only("data_root=nowhere")
    assert "no file in data fits *.json" in only(
        "sources.trains.path='*.json'", "sources.trains.format=json"
    )


def test_a_broken_application_leaves_the_other_checks(folder):
    (folder / "written_trains" / "application.py").write_text("import nothing_of_this_name\n")
    wrong = found("sources.trains.columns.speed=int")
    assert "cannot be imported" in wrong.problems[0]
    assert "no column 'speed'" in wrong.problems[1]
    assert any("until the application can be loaded" in note for note in wrong.notes)


def test_an_unset_password_is_named(folder):
    jdbc = "{kind: jdbc, url: 'jdbc:mysql://h/d', table: t, user: u, password_env: UNSET_HERE}"
    wrong = found(f"sources.more={jdbc}")
    assert "UNSET_HERE" in wrong.problems[0]
    assert wrong.notes == ["sources.more: its service is asked by a run"]


def test_the_split_by_the_label_is_a_problem(folder):
    assert "each split would have other labels" in only("split.feature=late")


def test_the_command_ends_with_1_and_one_line_each(folder):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "applications", "check", "--config", "trains.yaml"),
            *("--set", "evaluator.slices=[[lines]]"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("trains.yaml: 1 problem")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["ctr", "movielens"])
def test_our_own_applications_have_no_problem(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert look_at(f"applications/{name}/configs/{name}.yaml", ()).problems == []
