"""`python -m pipeline.export_feast`: any application whose aggregations are FeatureGroups."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.export_feast import main
from tests.product import ROOT

APPLICATION = """
from features.aggregations import Count, Last, Max
from features.groups import FeatureGroup
from tabular.feature_set import Categorical, FeatureSet

features = FeatureSet(label="disputed", features=(Categorical("country", vocabulary=10),))
aggregations = (
    FeatureGroup("card", "payments", ("card",), ("1h", "24h"), (Count(), Last("country", 3))),
    FeatureGroup("heat", "readings", ("machine", "sensor"), ("2h",), (Max("celsius"),)),
)


def build_examples(spark, sources, context):
    return sources["payments"]
"""
SCHEMA = """
feature { name: "country" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
feature { name: "disputed" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""
CONFIG = """
name: corner-bank
application: corner_bank
data_root: data
schema: schema.pbtxt
sources:
  payments: {format: json, path: "*.json", columns: {card: string, country: string, at: bigint}}
evaluator: {label: disputed, prediction: probability, thresholds: {auc: {min: 0.5}}}
"""
READINGS = "readings=machine string, sensor int, celsius double"


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An application outside the checkout, with its config."""
    (tmp_path / "corner_bank").mkdir()
    (tmp_path / "corner_bank/__init__.py").touch()
    (tmp_path / "corner_bank/application.py").write_text(APPLICATION)
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "bank.yaml").write_text(CONFIG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "corner_bank"]:
        del sys.modules[name]


def run(*arguments: str) -> Result:
    """Runs the command in this process, up to the point where Spark would start."""
    return CliRunner().invoke(main, ["--config", "bank.yaml", *arguments])


@pytest.mark.component
def test_it_writes_the_repository_of_an_application(bank: Path) -> None:
    command = [sys.executable, "-m", "pipeline.export_feast", "--config", "bank.yaml"]
    done = subprocess.run(
        [*command, "--out", "feature_repo", "--stream", READINGS, "--stream", "payments=at int"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(bank), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stdout.split()) == (
        "wrote feature_repo/definitions.py and feature_repo/feature_store.yaml: 5 features in "
        "card, heat"
    )
    settings = yaml.safe_load((bank / "feature_repo/feature_store.yaml").read_text())
    assert settings["project"] == "corner_bank"
    code = (bank / "feature_repo/definitions.py").read_text()
    assert "Field(name='card_last_country_24h', dtype=Array(String)" in code
    assert "name='sensor',\n    join_keys=['sensor'],\n    value_type=ValueType.INT32" in code


@pytest.mark.unit
def test_an_unknown_stream_is_an_error_before_spark_starts(bank: Path) -> None:
    found = run()
    assert found.exit_code == 1
    assert found.output == (
        "Error: export to Feast: the types of the stream 'readings' are not known. Declare "
        "sources.readings.columns, or give --stream 'readings=column type, ...'\n"
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("visits=a int", "--stream: expected one of the streams payments, readings. Received: "
         "visits"),
        ("readings", "--stream must be like 'payments=card string, amount double'. Received: "
         "'readings'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line(bank: Path, given: str, message: str) -> None:
    assert run("--stream", given).output == f"Error: {message}\n"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("aggregations = {'card': 1}", "a tuple of FeatureGroups. Received: dict"),
        ("aggregations = (1,)", "a tuple of FeatureGroups. Received: int"),
        ("aggregations = 5", "a tuple of FeatureGroups. Received: int"),
        ("aggregations = ()", "export to Feast: corner_bank.application.aggregations is empty"),
        ("del aggregations", "export to Feast: it needs aggregations in corner_bank.application"),
    ],
)
def test_an_application_without_feature_groups_is_an_error(
    bank: Path, code: str, message: str
) -> None:
    (bank / "corner_bank/application.py").write_text(f"{APPLICATION}\n{code}\n")
    found = run()
    assert found.exit_code == 1
    assert found.output.startswith("Error: ")
    assert message in found.output
    assert found.output.count("\n") == 1
