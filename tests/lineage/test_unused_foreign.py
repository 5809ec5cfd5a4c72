"""Artifacts that another component made, or may still read, are not unused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from lineage.unused import UnusedArtifacts, unused
from metadata.reader import MetadataReader
from tests.lineage.every_command import ask
from tests.lineage.stock_tfx import StockRun

pytestmark = pytest.mark.component


def fill(tfx: Any) -> None:
    """Writes a file into the folder of each artifact."""
    for artifact in tfx.store.get_artifacts():
        path = Path(artifact.uri)
        if path.is_absolute():
            path.mkdir(parents=True, exist_ok=True)
            (path / "data").write_bytes(b"x" * 100)


def looked_at(tfx: Any) -> UnusedArtifacts:
    return unused(MetadataReader.sqlite(tfx.path), keep_runs=1)


def ids(found: UnusedArtifacts) -> set[int]:
    return {one.artifact.id for one in found.unused}


@pytest.fixture
def old_run(tfx: Any) -> dict[str, int]:
    """Makes the artifacts of an old run of our own pipeline, all unused."""
    old: dict[str, int] = tfx.model("old", tfx.examples("old", span=1))
    tfx.examples("new", span=2)
    fill(tfx)
    assert old["model"] in ids(looked_at(tfx))
    return old


def test_a_stock_pipeline_is_not_looked_at(tfx: Any, old_run: dict[str, int]) -> None:
    theirs = [StockRun(tfx.folder, run_id=f"run-{n}").all_components() for n in range(3)]
    fill(tfx)
    found = looked_at(tfx)
    assert found.foreign == 3 * 8
    assert ids(found).isdisjoint({a.id for made in theirs for a in made.values()})
    assert old_run["model"] in ids(found)


def test_deleting_leaves_a_stock_pipeline_as_it_is(tmp_path: Path) -> None:
    runs = [StockRun(tmp_path, run_id=f"run-{n}").all_components() for n in range(3)]
    folders = [Path(artifact.uri) for made in runs for artifact in made.values()]
    for folder in folders:
        folder.mkdir(parents=True)
    store = tmp_path / "metadata.sqlite"
    before = store.read_bytes()
    answer = ask(store, "gc", "--keep-runs", "1", "--delete", "--yes")
    assert "24 artifacts are not looked at" in answer.output
    assert all(folder.is_dir() for folder in folders)
    assert store.read_bytes() == before
    assert not (tmp_path / ".lock").exists()


def test_an_output_of_an_unknown_type_is_kept(tfx: Any) -> None:
    """Somebody may read an output of an unknown type, such as BulkInferrer's."""
    inputs = {"examples": tfx.examples("old", span=1)}
    outputs: dict[str, Any] = {
        "inference_result": ("InferenceResult", {}),
        "model": ("acme.Model", {}),
    }
    _, made = tfx.execute("old", "BulkInferrer", inputs=inputs, outputs=outputs)
    tfx.examples("new", span=2)
    fill(tfx)
    found = looked_at(tfx)
    assert ids(found).isdisjoint(made.values())
    reasons = {one.artifact.id: one.reason for one in found.kept}
    assert reasons[made["model"]] == "who reads outputs of type acme.Model is not known"


@pytest.mark.parametrize("place", ["same", "inside", "above", "link", "relative"])
def test_a_folder_that_another_artifact_names_is_kept(
    tfx: Any, old_run: dict[str, int], place: str
) -> None:
    """An Importer of this or another pipeline names an existing folder."""
    [model] = tfx.store.get_artifacts_by_id([old_run["model"]])
    folder = Path(model.uri)
    link = tfx.folder / "link"
    link.symlink_to(folder)
    uris = {
        "same": model.uri,
        "inside": f"file://{folder / 'Format-Serving'}",
        "above": str(folder.parent),
        "link": str(link),
        "relative": os.path.relpath(folder, tfx.folder),
    }
    outputs = {"result": ("Model", {"uri": uris[place]})}
    tfx.pipeline = "another"
    tfx.execute("import", "Importer", outputs=outputs)
    found = looked_at(tfx)
    assert old_run["model"] not in ids(found)
    assert old_run["model_run"] in ids(found)
    [reason] = [one.reason for one in found.kept if one.artifact.id == old_run["model"]]
    assert reason.endswith("names this folder, too")


def test_a_relative_folder_is_not_taken_for_one_below_the_current_folder(
    tfx: Any, old_run: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    protos = tfx.store.get_artifacts_by_id([old_run["model"]])
    protos[0].uri = os.path.relpath(protos[0].uri, tfx.folder)
    tfx.store.put_artifacts(protos)
    monkeypatch.chdir(tfx.folder)
    assert (tfx.folder / protos[0].uri).is_dir()
    assert old_run["model"] not in ids(looked_at(tfx))


def test_a_pipeline_stays_ours_when_its_examples_are_deleted(
    tfx: Any, old_run: dict[str, int]
) -> None:
    protos = [a for a in tfx.store.get_artifacts() if a.type == "Examples"]
    for proto in protos:
        proto.state = mlmd.Artifact.DELETED
    tfx.store.put_artifacts(protos)
    assert old_run["model"] in ids(looked_at(tfx))


def test_a_run_whose_states_are_not_recorded_may_still_run(
    tfx: Any, old_run: dict[str, int]
) -> None:
    inputs = {"model": old_run["model"]}
    tfx.execute("odd", "Reader", inputs=inputs, state=mlmd.Execution.UNKNOWN)
    tfx.examples("newest", span=3)
    assert old_run["model"] not in ids(looked_at(tfx))


def test_what_another_tool_marked_for_deletion_is_left_to_it(
    tfx: Any, old_run: dict[str, int]
) -> None:
    theirs = StockRun(tfx.folder).all_components()["model"]
    [proto] = tfx.store.get_artifacts_by_id([theirs.id])
    proto.state = mlmd.Artifact.MARKED_FOR_DELETION
    tfx.store.put_artifacts([proto])
    answer = ask(tfx.path, "gc", "--keep-runs", "1", "--delete", "--yes")
    assert f"deleted {tfx.folder}" in answer.output
    [proto] = tfx.store.get_artifacts_by_id([theirs.id])
    assert proto.state == mlmd.Artifact.MARKED_FOR_DELETION
