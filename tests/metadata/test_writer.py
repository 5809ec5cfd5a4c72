"""Executions and artifacts are read back as they were written."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata import names
from metadata.connection import Connection, connection_config
from metadata.opening import MetadataError
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact, Value
from tests.metadata.tfx_store import TfxStore

pytestmark = pytest.mark.unit


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return Connection("sqlite", tmp_path / "new" / "metadata.sqlite")


@pytest.fixture
def writer(connection: Connection) -> MetadataWriter:
    return MetadataWriter.connect(connection, "shop.ctr")


@pytest.fixture
def store(writer: MetadataWriter, connection: Connection) -> metadata_store.MetadataStore:
    return metadata_store.MetadataStore(connection_config(connection))


def artifact_of(writer: MetadataWriter, type_name: str = "Model", **properties: str) -> int:
    execution = writer.begin("Trainer", {}, "r")
    new = NewArtifact(type_name, "/model", properties)
    (number,) = writer.end(execution, "complete", outputs=[("model", new)])
    return number


def test_an_execution_has_the_contexts_that_tfx_gives(writer: MetadataWriter) -> None:
    properties: dict[str, Value] = {"user": "ann", "version": 7, "share": 0.5, "forced": True}
    number = writer.record("serving.Promotion", properties, name="p-1", run_id="p-1")
    run = writer.reader.run("p-1")
    assert run.pipeline == "shop.ctr"
    (execution,) = run.components
    assert (execution.id, execution.component, execution.state) == (number, "Promotion", "complete")
    assert execution.properties == properties


def test_an_execution_of_a_name_is_written_once(writer: MetadataWriter) -> None:
    once = writer.record("serving.Promotion", {}, name="p-1")
    outputs = [("x", NewArtifact("Model", "/x"))]
    assert writer.record("serving.Promotion", {}, outputs=outputs, name="p-1") == once
    assert writer.record("serving.Promotion", {}, name="p-2") != once
    assert writer.record("serving.Promotion", {}) != writer.record("serving.Promotion", {})
    assert writer.reader.all_artifacts() == []


def test_of_two_processes_that_write_a_name_at_once_one_does(
    writer: MetadataWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = writer.record("serving.Promotion", {}, name="p-1")
    asked = iter([None, first])  # nobody had written it when this one looked
    monkeypatch.setattr(writer.reader, "execution_named", lambda *_: next(asked))
    assert writer.record("serving.Promotion", {}, name="p-1") == first


def test_inputs_and_outputs_have_their_keys_in_order(writer: MetadataWriter) -> None:
    models = [artifact_of(writer) for _ in range(3)]
    metrics = [NewArtifact("OnlineMetrics", f"/{arm}", {"arm": arm}) for arm in ("b", "a")]
    number = writer.record(
        "streaming.OnlineEvaluation",
        {},
        inputs=[("model", models[2]), ("model", models[0]), ("other", models[2])],
        outputs=[("metrics", one) for one in metrics],
    )
    found = writer.reader.execution(number)
    assert found.inputs == {"model": (models[2], models[0])}  # an artifact is an input once
    made = writer.reader.artifacts(found.outputs["metrics"])
    assert [made[i].properties["arm"] for i in found.outputs["metrics"]] == ["b", "a"]
    assert {artifact.state for artifact in made.values()} == {"live"}


def test_what_another_process_writes_of_an_input_stays(
    writer: MetadataWriter, store: metadata_store.MetadataStore
) -> None:
    model = artifact_of(writer)
    execution = writer.begin("Evaluator", {}, "r")
    (proto,) = store.get_artifacts_by_id([model])
    proto.custom_properties["withdrawn"].string_value = "log loss"
    store.put_artifacts([proto])
    writer.end(execution, "complete", [("model", model)])
    assert writer.reader.artifact(model).properties == {"withdrawn": "log loss"}


def test_a_type_that_tfx_has_declared_is_used_as_it_is(
    writer: MetadataWriter, store: metadata_store.MetadataStore
) -> None:
    declared = {"span": mlmd.INT, "split_names": mlmd.STRING}
    theirs = store.put_artifact_type(mlmd.ArtifactType(name="Examples", properties=declared))
    new = NewArtifact("Examples", "/e", {"rows": 3}, {"span": int, "share": float}, {"span": 7})
    execution = writer.begin("Gen", {}, "r")
    (number,) = writer.end(execution, "complete", outputs=[("examples", new)])
    (proto,) = store.get_artifacts_by_id([number])
    assert proto.type_id == theirs
    assert proto.properties["span"].int_value == 7
    assert proto.custom_properties["rows"].int_value == 3
    kinds = store.get_artifact_type("Examples").properties
    assert dict(kinds) == {**declared, "share": mlmd.DOUBLE}


def test_an_execution_that_began_is_running_until_it_ends(writer: MetadataWriter) -> None:
    number = writer.begin("Trainer", {"epochs": 2}, "r")
    assert writer.reader.execution(number).state == "running"
    writer.end(number, "failed")
    ended = writer.reader.execution(number)
    assert (ended.state, ended.properties) == ("failed", {"epochs": 2})
    assert writer.reader.run("r").touched == set()


def test_a_run_that_has_ended_has_nothing_running(writer: MetadataWriter) -> None:
    left, other = writer.begin("Trainer", {}, "r"), writer.begin("Trainer", {}, "s")
    writer.end(writer.begin("Gen", {}, "r"), "complete")
    writer.fail_running("r")
    writer.fail_running("no such run")
    assert writer.reader.states([left, other]) == {left: "failed", other: "running"}
    assert {e.component: e.state for e in writer.reader.run("r").components} == {
        "Trainer": "failed",
        "Gen": "complete",
    }


def test_a_property_of_an_artifact_comes_and_goes(writer: MetadataWriter) -> None:
    model = artifact_of(writer, kept="yes")
    writer.change_artifacts([model], {"withdrawn": "log loss"})
    assert writer.reader.artifact(model).properties == {"kept": "yes", "withdrawn": "log loss"}
    writer.change_artifacts([model], {"withdrawn": None})
    writer.change_artifacts([], {"withdrawn": "nobody"})
    assert writer.reader.artifact(model).properties == {"kept": "yes"}


def test_the_state_of_an_artifact_is_changed(writer: MetadataWriter) -> None:
    model = artifact_of(writer)
    writer.change_artifacts([model], state="marked_for_deletion")
    assert writer.reader.artifact(model).state == "marked_for_deletion"
    writer.change_artifacts([model], state="deleted")
    assert writer.reader.artifact(model).state == "deleted"


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    with pytest.raises(MetadataError, match=r"cannot write the metadata store .*text: .*reachable"):
        MetadataWriter.connect(Connection("sqlite", tmp_path / "text"))


# Executions that are recorded afterwards


def utc(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def test_what_is_recorded_afterwards_has_its_own_times(writer: MetadataWriter) -> None:
    trainer = writer.begin("Trainer", {"epochs": 2}, "r", began=1_040.25)
    gen = writer.begin("Gen", {}, "r", began=1_000.5)
    examples = NewArtifact("Examples", "/e", {"rows": 3}, created=1_031)
    (made,) = writer.end(gen, "complete", outputs=[("examples", examples)], ended=1_031)
    writer.end(trainer, "complete", [("examples", made)], ended=1_070.75)
    run = writer.reader.run("r")
    assert (run.started, run.seconds) == (utc(1_000.5), 70.25)
    found = {e.component: (e.started, e.seconds) for e in run.components}
    assert found == {"Trainer": (utc(1_040.25), 30.5), "Gen": (utc(1_000.5), 30.5)}
    artifact = writer.reader.artifact(made)
    assert artifact.created == utc(1_031)
    # They are no parameters of the step and no facts of the artifact.
    assert writer.reader.execution(trainer).properties == {"epochs": 2}
    assert artifact.properties == {"rows": 3}


def test_a_run_whose_steps_are_recorded_as_they_run_has_the_times_of_the_store(
    writer: MetadataWriter,
) -> None:
    before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=1)
    number = writer.begin("Trainer", {}, "r")
    writer.end(number, "complete")
    run = writer.reader.run("r")
    assert run.started > before
    assert run.components[0].started > before


@pytest.mark.parametrize("value", [-1, 0, 1 << 62])
def test_a_property_that_is_no_time_is_none(tfx: TfxStore, value: int) -> None:
    times = dict.fromkeys((names.ACTUAL_BEGAN_MS, names.ACTUAL_ENDED_MS), value)
    created = {names.ACTUAL_CREATED_MS: value}
    number, made = tfx.execute("r", "Gen", outputs={"x": ("Examples", created)}, properties=times)
    store = MetadataReader.sqlite(tfx.path)
    year = dt.datetime.now(dt.timezone.utc).year
    assert store.execution(number).started.year == year
    assert store.artifact(made["x"]).created.year == year
    assert store.run("r").started.year == year


def test_a_start_without_an_end_is_that_of_the_store(tfx: TfxStore) -> None:
    number, _ = tfx.execute("r", "Gen", properties={names.ACTUAL_BEGAN_MS: 1_000})
    assert MetadataReader.sqlite(tfx.path).execution(number).started.year > 2000
