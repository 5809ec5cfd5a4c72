"""A run of a compiled pipeline in ML Metadata: types as TFX's runners write them, and times."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store

from kubeflow.record import Record
from kubeflow.report_step import write_steps
from kubeflow.step_account import StepAccount
from metadata.connection import Connection, connection_config

pytestmark = pytest.mark.unit

SCHEMA = """title: tfx.Examples
type: object
properties:
  span: {type: integer}
  share: {type: double}
  split_names: {type: string}
"""


def artifact(**metadata: Any) -> dict[str, Any]:
    return {"uri": "/e", "type": {"instanceSchema": SCHEMA}, "metadata": metadata}


def test_properties_are_declared_and_custom_ones_as_of_tfx(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    record = Record(path, "ctr", "r")
    # JSON knows one kind of number; `custom:` begins the name of one that is declared, too.
    given = artifact(span=7.0, share=1.0, rows=3.0, big=1e20, **{"custom:span": 8.0, "ok": True})
    number = record.begin("Gen", {"window": 2.0, "rate": 0.5, "sources": [1]})
    record.end(number, "complete", {}, {"examples": given})
    store = metadata_store.MetadataStore(connection_config(Connection("sqlite", path)))
    (found,) = store.get_artifacts_by_id([record.number(("Gen", "examples"))])
    assert found.type == "Examples"
    assert (found.properties["span"].int_value, found.properties["share"].double_value) == (7, 1.0)
    custom = found.custom_properties
    assert {*custom} == {"rows", "big", "span", "ok"}
    assert (custom["rows"].int_value, custom["span"].int_value) == (3, 8)
    assert custom["big"].double_value == 1e20
    assert custom["ok"].bool_value
    (execution,) = store.get_executions()
    properties = execution.custom_properties
    assert (properties["window"].int_value, properties["rate"].double_value) == (2, 0.5)
    assert json.loads(properties["sources"].string_value) == [1]


def test_what_has_failed_gives_nothing_and_what_is_missing_is_not_taken(tmp_path: Path) -> None:
    record = Record(tmp_path / "metadata.sqlite", "ctr", "r")
    gen, trainer = record.begin("Gen", {}), record.begin("Trainer", {})
    record.end(gen, "failed", {}, {"examples": artifact()})
    record.end(trainer, "complete", {"examples": ("Gen", "examples")}, {})
    run = record.reader.run("r")
    assert [execution.state for execution in run.components] == ["failed", "complete"]
    assert run.touched == set()


def test_the_steps_of_a_report_stand_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    record = Record(tmp_path / "metadata.sqlite", "ctr", "r")
    told = {
        "Trainer": StepAccount(2_000.0, 2_090.5, 1, {}, {"model": artifact()}),
        "Schema": StepAccount(1_990.0, 1_991.0, 1, {}, {}),
        "Gen": StepAccount(1_000.0, 1_031.0, 1, {"window": 2}, {"examples": artifact(rows=3)}),
    }
    write_steps(record, {"Trainer": {"examples": ("Gen", "examples")}}, told)
    run = record.reader.run("r")
    assert [(e.component, e.seconds) for e in run.components] == [
        ("Gen", 31.0),
        ("Schema", 1.0),
        ("Trainer", 90.5),
    ]
    assert run.started == dt.datetime.fromtimestamp(1_000, dt.timezone.utc)
    assert run.seconds == 1_090.5
    gen, _, trainer = run.components
    assert trainer.inputs == gen.outputs
    examples = record.reader.artifact(record.number(("Gen", "examples")))
    assert examples.created == dt.datetime.fromtimestamp(1_031, dt.timezone.utc)
    assert (examples.properties, gen.properties) == ({"rows": 3}, {"window": 2})
