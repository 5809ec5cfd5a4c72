"""Unused artifacts and their deletion."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from lineage.delete import delete_unused
from lineage.trace import trace
from lineage.unused import StoredArtifact, unused
from metadata.connection import Connection
from metadata.reader import MetadataError, MetadataReader

pytestmark = pytest.mark.unit
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pipeline(tfx):
    """Makes four runs with their folders; of versions 1001 to 1004, 1003 and 1004 exist."""
    runs = [full_run(tfx, run) for run in ("1", "2", "3", "4")]
    for version in ("1003", "1004"):
        (tfx.folder / "serving" / version).mkdir(parents=True)
    return runs


def full_run(tfx, run):
    """Makes runs that each read their own span."""
    model = tfx.model(run, tfx.examples(run, span=474790 + int(run)), decision={"threshold": "0.5"})
    made = tfx.push(run, model, f"100{run}", destination=tfx.folder / "serving" / f"100{run}")
    fill(tfx)
    tfx.manifest(made["examples"])
    return made


def fill(tfx):
    """Writes a file of 100 bytes into the folder of each artifact."""
    for artifact in tfx.store.get_artifacts():
        path = Path(artifact.uri)
        path.mkdir(parents=True, exist_ok=True)
        (path / "data").write_bytes(b"x" * 100)


def looked_at(tfx, keep_runs=1):
    return unused(MetadataReader.sqlite(tfx.path), keep_runs)


def ids(items):
    return {one.artifact.id for one in items}


def connection(tfx):
    return Connection("sqlite", tfx.path)


def states(tfx, wanted):
    artifacts = tfx.store.get_artifacts_by_id(sorted(wanted))
    return {mlmd.Artifact.State.Name(a.state) for a in artifacts}


def span_run(tfx, run, span, **state):
    """Makes a run with examples and statistics of its own span only, like an hourly run."""
    examples = tfx.examples(run, span=span)
    inputs = {"examples": examples}
    statistics: dict[str, Any] = {"statistics": ("ExampleStatistics", {})}
    _, made = tfx.execute(run, "StatisticsGen", inputs=inputs, outputs=statistics, **state)
    return {"examples": examples, **made}


def test_a_window_keeps_the_spans_it_has_not_reached_yet(tfx):
    """A window may move by several spans: the newest run reads span 1, the next one all five."""
    spans = [span_run(tfx, str(n), n) for n in range(1, 5)]
    newest = span_run(tfx, "5", 5)
    tfx.execute("5", "SpanWindow", picked={"examples": spans[1]["examples"]})
    fill(tfx)
    found = looked_at(tfx)
    for made in (*spans[1:], newest):
        assert set(made.values()) <= ids(found.kept)
    assert set(spans[0].values()) <= ids(found.unused)


def test_failed_runs_do_not_take_the_place_of_complete_ones(tfx):
    good = full_run(tfx, "1")
    for run in ("2", "3", "4", "5"):
        span_run(tfx, run, 474793 + int(run), state=tfx.FAILED)
    fill(tfx)
    assert looked_at(tfx).unused == ()
    assert good["examples"] in ids(looked_at(tfx).kept)


def test_blessed_models_since_the_oldest_version_are_kept(tfx):
    """After a rollback the next run starts from one of them, pushed or not."""
    pushed = full_run(tfx, "1")
    (tfx.folder / "serving" / "1001").mkdir(parents=True)
    waiting = tfx.model("2", tfx.examples("2"))
    verdict = {"blessed": 1}
    tfx.execute(
        "2",
        "Evaluator",
        inputs={"examples": waiting["examples"], "model": waiting["model"]},
        outputs={"blessing": ("ModelBlessing", verdict)},
    )
    for run in ("3", "4"):
        full_run(tfx, run)
    fill(tfx)
    kept = ids(looked_at(tfx).kept)
    assert {pushed["model"], waiting["model"]} <= kept


def test_a_file_system_that_is_not_mounted_retires_no_version(tfx, pipeline):
    for version in ("1003", "1004"):
        (tfx.folder / "serving" / version).rmdir()
    kept = ids(looked_at(tfx).kept)  # an empty mount point
    assert {run["model"] for run in pipeline} <= kept
    (tfx.folder / "serving").rmdir()
    assert {run["model"] for run in pipeline} <= ids(looked_at(tfx).kept)


def test_the_newest_runs_keep_everything(tfx, pipeline):
    found = looked_at(tfx, 2)
    assert ids(found.unused).isdisjoint({*pipeline[2].values(), *pipeline[3].values()})
    assert {*pipeline[0].values(), *pipeline[1].values()} <= ids(found.unused)
    assert looked_at(tfx, 4).unused == ()


def test_a_version_that_is_there_keeps_its_model_and_not_its_examples(tfx, pipeline):
    found = looked_at(tfx)
    third = pipeline[2]
    kept = {"pushed_model", "model", "transform_graph", "schema", "blessing", "evaluation"}
    kept |= {"decision"}
    assert {third[key] for key in kept} <= ids(found.kept)
    assert {third[key] for key in third.keys() - kept} <= ids(found.unused)
    reasons = {one.artifact.id: one.reason for one in found.kept}
    assert reasons[third["model"]] == "version 1003 is served, or can be"


def test_a_model_that_was_not_pushed_is_not_kept(tfx):
    """The Pusher leaves an output like this while another canary is being judged."""
    made = tfx.model("1", tfx.examples("1"))
    outputs = {"pushed_model": ("PushedModel", {"pushed": 0})}
    tfx.execute("1", "Pusher", inputs={"model": made["model"]}, outputs=outputs)
    fill(tfx)
    tfx.examples("2")
    assert made["model"] in ids(looked_at(tfx).unused)


def test_what_a_warm_start_began_with_is_not_kept(tfx):
    old = full_run(tfx, "1")
    made = tfx.model("2", tfx.examples("2"), base=old["model"])
    tfx.push("2", made, "1002", destination=tfx.folder / "serving" / "1002")
    (tfx.folder / "serving" / "1002").mkdir(parents=True)
    fill(tfx)
    tfx.examples("3")
    found = looked_at(tfx)
    assert made["model"] in ids(found.kept)
    assert old["model"] in ids(found.unused)


def test_the_newest_blessed_model_is_kept(tfx):
    blessed, _ = full_run(tfx, "1"), tfx.examples("2", span=474800)
    (tfx.folder / "serving" / "9").mkdir(parents=True)
    found = looked_at(tfx)
    assert blessed["model"] in ids(found.kept)
    assert blessed["examples"] in ids(found.unused)


def test_a_deleted_blessing_is_not_the_newest(tfx):
    blessed, gone = full_run(tfx, "1"), full_run(tfx, "2")
    artifact, *_ = tfx.store.get_artifacts_by_id([gone["blessing"]])
    artifact.state = mlmd.Artifact.DELETED
    tfx.store.put_artifacts([artifact])
    tfx.examples("3", span=474800)
    (tfx.folder / "serving" / "9").mkdir(parents=True)
    assert blessed["model"] in ids(looked_at(tfx).kept)


def test_what_a_run_took_from_the_cache_is_kept(tfx, pipeline):
    cached = pipeline[0]["examples"]
    tfx.execute("5", "SparkExampleGen", outputs={"examples": cached}, state=tfx.CACHED)
    assert cached in ids(looked_at(tfx).kept)


def test_a_run_that_goes_on_keeps_what_it_reads(tfx, pipeline):
    old = pipeline[0]["examples"]
    tfx.execute("0", "StatisticsGen", inputs={"examples": old}, state=tfx.RUNNING)
    tfx.execute("0", "Transform", outputs={"graph": ("TransformGraph", {})})
    full_run(tfx, "9")
    [reason] = [one.reason for one in looked_at(tfx).kept if one.artifact.id == old]
    assert reason == "run 0 still runs"
    with pytest.raises(MetadataError, match=r"run 0 of .* is in progress: nothing was deleted"):
        delete_unused(connection(tfx), 1)
    delete_unused(connection(tfx), 1, ended=["0"])


def test_only_folders_as_tfx_names_them_are_looked_at(tfx, pipeline, tmp_path):
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    _, made = tfx.execute(
        "0", "Importer", outputs={"result": ("Examples", {"uri": str(elsewhere)})}
    )
    full_run(tfx, "9")
    found = looked_at(tfx)
    assert made["result"] not in ids(found.unused) | ids(found.kept)
    assert found.elsewhere == 1
    delete_unused(connection(tfx), 1)
    assert elsewhere.is_dir()


def test_sizes_are_of_all_files(tfx, pipeline):
    [model] = [o for o in looked_at(tfx).unused if o.artifact.id == pipeline[0]["model"]]
    assert model.bytes == 100
    assert (model.component, model.run_id) == ("Trainer", "1")
    nested = model.path / "a" / "b"
    nested.mkdir(parents=True)
    (nested / "c").write_bytes(b"x" * 50)
    [model] = [o for o in looked_at(tfx).unused if o.artifact.id == pipeline[0]["model"]]
    assert model.bytes == 150


def test_deleting_takes_the_folders_and_leaves_the_lineage(tfx, pipeline):
    before = trace(MetadataReader.sqlite(tfx.path), "1001")
    found = looked_at(tfx)
    told: list[StoredArtifact] = []
    assert delete_unused(connection(tfx), 1, told.append) == found
    assert told == list(found.unused)
    assert not any(one.path.exists() for one in found.unused)
    assert all(one.path.is_dir() for one in found.kept)
    assert states(tfx, ids(found.unused)) == {"DELETED"}
    assert states(tfx, ids(found.kept)) == {"LIVE"}
    assert looked_at(tfx).unused == ()
    after = trace(MetadataReader.sqlite(tfx.path), "1001")
    assert after.datasets[0].sources == before.datasets[0].sources
    assert after.datasets[0].manifest_problem is None


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_nothing_is_deleted_while_a_run_is_in_progress(tfx, pipeline, kind):
    """The run may be of the store's own pipeline, or of one that shares the store."""
    with (tfx.folder / ".lock").open("a+") as lock:
        fcntl.flock(lock, kind)
        with pytest.raises(MetadataError, match="is in progress"):
            delete_unused(connection(tfx), 1)
    assert all(one.path.is_dir() for one in looked_at(tfx).unused)


def test_after_a_kill_the_next_call_finishes(tfx, pipeline):
    found = looked_at(tfx)
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from lineage.delete import delete_unused\n"
        "from metadata.connection import Connection\n"
        "connection = Connection('sqlite', Path(sys.argv[1]))\n"
        "delete_unused(connection, 1, lambda one: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tfx.path)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    left = [one for one in found.unused if one.path.exists()]
    assert len(left) == len(found.unused) - 1
    assert states(tfx, ids(found.unused)) == {"MARKED_FOR_DELETION"}
    delete_unused(connection(tfx), 1)
    assert not any(one.path.exists() for one in found.unused)
    assert states(tfx, ids(found.unused)) == {"DELETED"}


def test_a_folder_that_cannot_be_deleted_is_named(tfx, pipeline, monkeypatch):
    first = looked_at(tfx).unused[0].path

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(MetadataError, match=f"cannot delete {first}: Permission denied"):
        delete_unused(connection(tfx), 1)
    assert first.is_dir()
