"""Reading runs, executions and artifacts out of a store."""

import datetime as dt
import sqlite3
import subprocess
import sys
import time

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from metadata.reader import MetadataError, MetadataReader

pytestmark = pytest.mark.unit


def test_runs_come_newest_first_with_their_components_in_order(tfx):
    tfx.full_run("first", "1001")
    tfx.examples("second")
    first, second = MetadataReader.sqlite(tfx.path).runs()[::-1]
    assert (first.run_id, second.run_id) == ("first", "second")
    assert first.pipeline == "ctr"
    assert [e.component for e in first.components] == [
        "SparkExampleGen",
        "StatisticsGen",
        "ImportSchemaGen",
        "Transform",
        "Trainer",
        "Evaluator",
        "Pusher",
    ]
    assert {e.run_id for e in first.components} == {"first"}


def test_a_limit_brings_the_newest_runs_only(tfx):
    for number in range(3):
        tfx.examples(f"run{number}")
    assert [run.run_id for run in MetadataReader.sqlite(tfx.path).runs(2)] == ["run2", "run1"]


def test_inputs_and_outputs_are_artifact_ids_by_key(tfx):
    made = tfx.full_run("r", "1001")
    trainer = MetadataReader.sqlite(tfx.path).run("latest").components[4]
    assert trainer.inputs == {
        "examples": (made["transformed_examples"],),
        "schema": (made["schema"],),
        "transform_graph": (made["transform_graph"],),
    }
    assert trainer.outputs == {"model": (made["model"],), "model_run": (made["model_run"],)}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (mlmd.Execution.COMPLETE, "complete"),
        (mlmd.Execution.CACHED, "cached"),
        (mlmd.Execution.FAILED, "failed"),
        (mlmd.Execution.RUNNING, "running"),
        (mlmd.Execution.NEW, "running"),
        (mlmd.Execution.CANCELED, "canceled"),
    ],
)
def test_states(tfx, written, read):
    execution, _ = tfx.execute("r", "Trainer", state=written)
    assert MetadataReader.sqlite(tfx.path).execution(execution).state == read


def test_a_run_failed_if_a_component_did_unless_a_later_try_succeeded(tfx):
    tfx.examples("r")
    tfx.execute("r", "Trainer", state=mlmd.Execution.FAILED)
    store = MetadataReader.sqlite(tfx.path)
    assert store.run("r").state == "failed"
    tfx.execute("r", "Trainer")
    assert store.run("r").state == "complete"


def test_seconds_run_from_creation_to_the_last_change(tfx):
    number, _ = tfx.execute("r", "Trainer", state=mlmd.Execution.RUNNING)
    time.sleep(0.2)
    [proto] = tfx.store.get_executions_by_id([number])
    proto.last_known_state = mlmd.Execution.COMPLETE
    tfx.store.put_executions([proto])
    execution = MetadataReader.sqlite(tfx.path).execution(number)
    assert 0.2 <= execution.seconds < 30
    assert execution.started.tzinfo is dt.timezone.utc


def test_what_a_resolver_picked_is_not_its_output(tfx):
    made = tfx.full_run("first", "1001")
    number, _ = tfx.execute("second", "Baseline", picked={"model": made["model"]})
    execution = MetadataReader.sqlite(tfx.path).execution(number)
    assert execution.outputs == {}
    assert execution.resolved == {"model": (made["model"],)}


def test_executions_of_many_runs_know_their_run_and_component(tfx):
    numbers = {f"run{n}": tfx.execute(f"run{n}", "Trainer")[0] for n in range(120)}
    found = MetadataReader.sqlite(tfx.path).executions(numbers.values())
    assert {e.run_id: e.id for e in found.values()} == numbers
    assert {e.component for e in found.values()} == {"Trainer"}


def test_a_pipeline_may_have_dots_in_its_name(tmp_path, tfx):
    type(tfx)(tmp_path, pipeline="shop.ctr").execute("r", "Trainer")
    run = MetadataReader.sqlite(tfx.path).run("r")
    assert (run.pipeline, run.components[0].component) == ("shop.ctr", "Trainer")


def test_properties_that_tfx_keeps_as_json_come_back_as_values(tfx):
    made = tfx.full_run("r", "1001")
    [proto] = tfx.store.get_artifacts_by_id([made["statistics"]])
    proto.custom_properties["rate"].struct_value.update({"__value__": '{"eval": 0.5}'})
    proto.custom_properties["blessed"].struct_value.update({"eval": 1.0})
    tfx.store.put_artifacts([proto])
    properties = MetadataReader.sqlite(tfx.path).artifact(made["statistics"]).properties
    assert properties == {"rate": {"eval": 0.5}, "blessed": {"eval": 1.0}}


def test_a_connection_config_opens_the_same_store(tfx):
    tfx.examples("r")
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(tfx.path)
    assert MetadataReader.from_connection_config(config).run("latest").run_id == "r"


def test_unknown_ids_say_what_there_is(tfx):
    tfx.examples("r")
    store = MetadataReader.sqlite(tfx.path)
    with pytest.raises(MetadataError, match=r"no artifact 99 .*show latest"):
        store.artifact(99)
    with pytest.raises(MetadataError, match=r"no execution 99 .*show latest"):
        store.execution(99)
    with pytest.raises(MetadataError, match=r"no run 'x' .*newest are r"):
        store.run("x")


def test_a_missing_file_a_folder_and_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(MetadataError, match="does not exist"):
        MetadataReader.sqlite(tmp_path / "none")
    with pytest.raises(MetadataError, match="is a folder"):
        MetadataReader.sqlite(tmp_path)
    with pytest.raises(MetadataError, match="is empty"):
        MetadataReader.sqlite(tmp_path / "empty")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "text").write_text("no database" * 1000)
    with pytest.raises(MetadataError, match="not a database"):
        MetadataReader.sqlite(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (a)")
    other.close()
    with pytest.raises(MetadataError, match="no ML Metadata store"):
        MetadataReader.sqlite(tmp_path / "other.sqlite")


def test_a_damaged_file(tfx):
    tfx.full_run("r", "1001")
    damaged = tfx.folder / "damaged.sqlite"
    content = bytearray(tfx.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    damaged.write_bytes(content)
    with pytest.raises(MetadataError, match=r"damaged\.sqlite"):
        MetadataReader.sqlite(damaged)


def test_a_store_without_a_run(tfx):
    with pytest.raises(MetadataError, match="no pipeline run yet"):
        MetadataReader.sqlite(tfx.path)


def test_a_locked_file_is_an_error_within_seconds(tfx, monkeypatch):
    monkeypatch.setattr("metadata.opening.LOCK_SECONDS", 0.2)
    tfx.examples("r")
    hold = (
        "import sqlite3, sys; file = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "file.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tfx.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(MetadataError, match="locked by another process"):
            MetadataReader.sqlite(tfx.path)
        holder.stdin.close()


def test_reading_changes_nothing(tfx):
    tfx.full_run("r", "1001")
    before = tfx.path.read_bytes()
    MetadataReader.sqlite(tfx.path).runs()
    assert tfx.path.read_bytes() == before
