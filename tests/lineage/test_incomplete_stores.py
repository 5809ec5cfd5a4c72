"""Incomplete stores: every question has an answer, which says what is not recorded."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.evaluator.evaluation_files import read_evaluation, read_verdict
from lineage.compare import compare
from lineage.impact import impact_of
from lineage.open_lineage import run_events
from lineage.trace import trace
from metadata.artifact_files import files_below, local_path
from metadata.reader import MetadataError, MetadataReader, NoRunsError
from tests.lineage.every_command import ask, ask_everything

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[2]
BARE = {"examples": "Examples", "model": "Model", "pushed_model": "PushedModel"}


def bare_run(tfx: Any, run_id: str = "r", **properties: Any) -> dict[str, int]:
    """Makes a run of ExampleGen, Trainer and Pusher whose outputs have only these properties."""
    made: dict[str, int] = {}
    for component, key in (("Gen", "examples"), ("Trainer", "model"), ("Pusher", "pushed_model")):
        outputs = {key: (BARE[key], properties)}
        made |= tfx.execute(run_id, component, inputs=made, outputs=outputs)[1]
    return made


def sql(tfx: Any, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(tfx.path)) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()


def delete(tfx: Any, kind: str, *numbers: int) -> None:
    """Deletes rows and their properties, as scripts that shrink a store do."""
    ids = ", ".join(map(str, numbers))
    sql(
        tfx,
        f"DELETE FROM {kind} WHERE id IN ({ids})",
        f"DELETE FROM {kind}Property WHERE {kind.lower()}_id IN ({ids})",
    )


def only_types(tfx: Any) -> None:
    tfx.store.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    tfx.store.put_context_type(mlmd.ContextType(name="pipeline_run"))


def no_contexts(tfx: Any) -> None:
    bare_run(tfx)
    sql(tfx, "DELETE FROM Context", "DELETE FROM Association", "DELETE FROM Attribution")


def runs_without_executions(tfx: Any) -> None:
    type_id = tfx.store.put_context_type(mlmd.ContextType(name="pipeline_run"))
    tfx.store.put_contexts([mlmd.Context(type_id=type_id, name=name) for name in ("a", "b")])


def no_nodes_and_pipelines(tfx: Any) -> None:
    bare_run(tfx)
    kinds = "SELECT id FROM Type WHERE name IN ('node', 'pipeline')"
    gone = f"SELECT id FROM Context WHERE type_id IN ({kinds})"
    sql(
        tfx,
        f"DELETE FROM Association WHERE context_id IN ({gone})",
        f"DELETE FROM Context WHERE id IN ({gone})",
    )


def no_events(tfx: Any) -> None:
    for run in ("r", "s"):
        tfx.full_run(run, "1001")
    sql(tfx, "DELETE FROM Event", "DELETE FROM EventPath")


def no_executions(tfx: Any) -> None:
    tfx.full_run("r", "1001")
    delete(tfx, "Execution", 1, 5, 6)


def no_artifacts(tfx: Any) -> None:
    tfx.full_run("r", "1001")
    delete(tfx, "Artifact", 1, 8, 9, 10)


def no_keys(tfx: Any) -> None:
    tfx.full_run("r", "1001")
    sql(tfx, "DELETE FROM EventPath")


def no_states_and_times(tfx: Any) -> None:
    tfx.full_run("r", "1001")
    for table in ("Execution", "Artifact", "Context"):
        sql(tfx, f"UPDATE {table} SET create_time_since_epoch=0, last_update_time_since_epoch=0")
    sql(tfx, "UPDATE Execution SET last_known_state=NULL", "UPDATE Artifact SET state=NULL")


def odd_properties(tfx: Any) -> None:
    """The store has this project's property names with values of other types."""
    odd: dict[str, Any] = {
        "span": "7",
        "spans": 3,
        "rows_read": "many",
        "manifest": 2,
        "pushed_version": 5,
        "etl_code_sha256": 4,
    }
    bare_run(tfx, etl=1.5, quarantined_reasons='{"a": 3}', dropped_reasons="[]", **odd)
    outputs = {"m": ("OnlineMetrics", {"impressions": "few", "clicks": 2, "hour": 3})}
    tfx.execute("r", "Watch", outputs=outputs, properties={"sources": 3})


def nowhere(tfx: Any) -> None:
    uris = ("/" + "x" * 300, "hdfs://h:1/a", "a/b/1", "/no/such/folder/1", "/a\0b")
    for number, uri in enumerate(uris):
        bare_run(tfx, f"r{number}", uri=uri, pushed_destination=uri)


STORES = [
    only_types,
    no_contexts,
    runs_without_executions,
    no_nodes_and_pipelines,
    no_events,
    no_executions,
    no_artifacts,
    no_keys,
    no_states_and_times,
    odd_properties,
    nowhere,
    lambda tfx: bare_run(tfx),
    lambda tfx: bare_run(tfx, uri=""),
]


@pytest.mark.parametrize("made", STORES)
def test_every_command_answers(tfx: Any, made: Callable[[Any], object]) -> None:
    made(tfx)
    ask_everything(tfx.path)


@pytest.mark.parametrize("made", [no_contexts, no_nodes_and_pipelines, odd_properties, nowhere])
def test_nothing_of_another_component_is_lost_or_gone(
    tfx: Any, made: Callable[[Any], object]
) -> None:
    made(tfx)
    for command, answer in ask_everything(tfx.path).items():
        if "report" not in command:  # its scripts have such words
            assert "lost" not in answer.output, command
            assert "gone" not in answer.output, command


def test_a_store_without_any_record_says_so(tfx: Any) -> None:
    only_types(tfx)
    with pytest.raises(NoRunsError, match="no pipeline run yet, and no execution or artifact"):
        MetadataReader.sqlite(tfx.path)


def test_artifacts_outside_of_any_run_are_shown(tfx: Any) -> None:
    no_contexts(tfx)
    assert "made by  (Trainer) (execution 2)" in ask(tfx.path, "show", "artifact:2").output
    said = ask(tfx.path, "list").output
    assert "no pipeline run is recorded" in said
    assert "its 3 executions and 3 artifacts" in said
    assert json.loads(ask(tfx.path, "list", "--json").output) == []


def test_a_run_without_executions_is_not_complete(tfx: Any) -> None:
    runs_without_executions(tfx)
    assert {run.state for run in MetadataReader.sqlite(tfx.path).runs()} == {"unknown"}
    assert "not recorded" in ask(tfx.path, "list").output


def test_a_state_and_a_time_that_are_not_recorded_are_not_made_up(tfx: Any) -> None:
    no_states_and_times(tfx)
    shown = ask(tfx.path, "show", "execution:1").output
    assert "unknown" in shown.splitlines()[0]
    assert "started  not recorded" in shown
    assert "1970" not in ask(tfx.path, "list").output


def test_runs_without_events_are_not_the_same(tfx: Any) -> None:
    no_events(tfx)
    found = compare(MetadataReader.sqlite(tfx.path), "run:r", "run:s")
    assert not found.same
    assert "data" in found.not_recorded
    assert "the same artifacts" not in ask(tfx.path, "diff", "run:r", "run:s").output


def test_what_a_trace_does_not_find_is_not_recorded(tfx: Any) -> None:
    tfx.execute("r", "Pusher", outputs={"pushed_model": ("PushedModel", {})})
    answer = ask(tfx.path, "trace").output
    assert "version not recorded" in answer
    assert "served from  not recorded" in answer
    assert "the model it was made from is not recorded" in answer
    assert "the examples it was made from are not recorded" in answer
    assert "blessing not recorded" in answer


def test_a_verdict_that_is_not_recorded_is_not_a_refusal(tfx: Any) -> None:
    made = tfx.model("r", tfx.examples("r"))
    outputs: dict[str, Any] = {
        "blessing": ("ModelBlessing", {}),
        "evaluation": ("ModelEvaluation", {}),
    }
    _, verdict = tfx.execute("r", "Evaluator", inputs={"model": made["model"]}, outputs=outputs)
    inputs = {"model": made["model"], "model_blessing": verdict["blessing"]}
    tfx.execute("r", "Pusher", inputs=inputs, outputs={"pushed_model": ("PushedModel", {})})
    blessing = trace(MetadataReader.sqlite(tfx.path), "latest").blessing
    assert blessing is not None
    assert blessing.blessed is None
    answer = ask(tfx.path, "trace").output
    assert "verdict not recorded" in answer
    assert "not blessed" not in answer


def test_pushes_without_a_version_can_be_traced(tfx: Any) -> None:
    made = bare_run(tfx)
    assert f"trace artifact:{made['pushed_model']}" in ask(tfx.path, "served").output
    answer = ask(tfx.path, "trace", f"artifact:{made['pushed_model']}").output
    assert f"Model {made['model']}" in answer


def test_what_a_failed_component_was_to_make_is_no_output(tfx: Any) -> None:
    """TFX records it as abandoned."""
    bare_run(tfx)
    made = bare_run(tfx, "s")
    protos = tfx.store.get_artifacts_by_id(list(made.values()))
    for proto in protos:
        proto.state = mlmd.Artifact.ABANDONED
    tfx.store.put_artifacts(protos)
    store = MetadataReader.sqlite(tfx.path)
    assert impact_of(store, "latest").artifact.id < made["examples"]
    assert trace(store, "latest").pushed.id < made["pushed_model"]


def test_an_artifact_without_a_place_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "verdict.json").write_text('{"blessed": true}')
    monkeypatch.chdir(tmp_path)
    assert local_path("") is None
    assert local_path("file://") is None
    assert files_below("", "*") == []
    assert read_verdict("").blessed is None
    assert read_evaluation("") is None


def test_artifacts_without_a_place_are_data_sets_of_their_own(tfx: Any) -> None:
    outputs: dict[str, Any] = {key: ("Schema", {"uri": ""}) for key in ("one", "two")}
    tfx.execute("r", "Gen", outputs=outputs)
    events = run_events(MetadataReader.sqlite(tfx.path), "latest", None, "tfx")
    names = {dataset.name for event in events for dataset in event.outputs or ()}
    assert names == {"ctr/artifact/1", "ctr/artifact/2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"no database" * 1000, "not a database"), (None, "is a folder")],
)
def test_what_is_no_store_is_one_line_for_every_command(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "store"
    path.mkdir() if content is None else path.write_bytes(content)
    for answer in ask_everything(path).values():
        assert answer.exit_code == 1
        assert message in answer.output


def test_a_store_without_one_of_its_tables_is_one_line(tfx: Any) -> None:
    bare_run(tfx)
    sql(tfx, "DROP TABLE Artifact")
    for answer in ask_everything(tfx.path).values():
        assert answer.exit_code == 0 or str(tfx.path) in answer.output


def test_a_pipe_is_no_store(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MetadataError, match="is a pipe or device"):
        MetadataReader.sqlite(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_says_so(tfx: Any) -> None:
    bare_run(tfx)
    code = (
        "import os, sys\n"
        "from metadata.reader import MetadataError, MetadataReader\n"
        "if os.getuid() == 0: os.setuid(65534)\n"  # root may read anything
        "try: MetadataReader.sqlite(sys.argv[1])\n"
        "except MetadataError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be closed to others
        Path(folder).chmod(0o755)
        store = Path(shutil.copy(tfx.path, folder))
        store.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", code, str(store)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        )
    assert "Permission denied; ask its owner" in done.stdout
