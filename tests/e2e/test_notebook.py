"""docs/inspect_a_run.ipynb opens the artifacts of a real run."""

from __future__ import annotations

import json

import pytest

from tests.e2e.project import Project
from tests.product import ROOT, config_path

NOTEBOOK = ROOT / "docs" / "inspect_a_run.ipynb"
CELLS = str(ROOT / "tests" / "e2e" / "notebook_cells.py")


@pytest.mark.unit
def test_the_notebook_is_stored_without_outputs() -> None:
    content = json.loads(NOTEBOOK.read_text("utf-8"))
    assert content["nbformat"] == 4
    cells = content["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}


@pytest.mark.e2e
def test_the_notebook_shows_a_run(after_a_run, monkeypatch) -> None:
    project, summary = after_a_run
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # Other tests may have made runs in this project since.
    values = (f"CONFIG={config_path('ctr')}", f"RUN={summary['run_id']}")
    done = project.command(CELLS, str(NOTEBOOK), *values)
    said = " ".join(done.stdout.split())
    rows = summary["rows"]
    assert f"run {summary['run_id']} of ctr: complete" in said
    assert f"'train': '{rows['train']:,} examples', 'eval': '{rows['eval']:,} examples'" in said
    assert f"blessed: {summary['blessed']}" in said
    assert f"{summary['metrics']['auc']:.6f}"[:6] in said
    assert f"Accounts(read={rows['read']}," in said
    assert "adds_up=True" in said
    assert "clicked" in said


@pytest.mark.e2e
def test_the_notebook_takes_another_run_root(after_a_run, tmp_path, monkeypatch) -> None:
    project, _ = after_a_run
    monkeypatch.setenv("MPLBACKEND", "Agg")
    values = (f"CONFIG={config_path('ctr')}", f"RUN_ROOT={tmp_path / 'nowhere'}")
    done = project.command(CELLS, str(NOTEBOOK), *values, code=1)
    assert f"{tmp_path}/nowhere/ctr/metadata.sqlite" in done.stderr


@pytest.mark.e2e
def test_the_notebook_names_a_run_that_is_not_there(after_a_run, monkeypatch) -> None:
    project: Project = after_a_run[0]
    monkeypatch.setenv("MPLBACKEND", "Agg")
    values = (f"CONFIG={config_path('ctr')}", "RUN=yesterday")
    done = project.command(CELLS, str(NOTEBOOK), *values, code=1)
    assert "yesterday" in done.stderr.splitlines()[-1]
