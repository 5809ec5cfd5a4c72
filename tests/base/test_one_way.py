"""There is one way to print, to end with an error, to replace a file and to lock: in base."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from base import shared_names
from tests.product import ROOT, modules

pytestmark = pytest.mark.unit

OTHER_WAYS = {
    "Console": "base.console.PlainConsole",
    "ClickException": "base.console.Failure",
    "escape_markup": "no markup at all",
    "from_markup": "rich.text.Text(...)",
}


def calls(path: Path) -> list[str]:
    """Names of what a module calls, without what stands before the last dot."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            found.append(name)
    return found


@pytest.mark.parametrize("name", OTHER_WAYS)
def test_nobody_goes_another_way(name: str) -> None:
    assert len(modules()) > 200
    found = [str(path.relative_to(ROOT)) for path in modules() if name in calls(path)]
    assert found == [], f"use {OTHER_WAYS[name]}"


def test_no_markup_is_imported() -> None:
    for path in modules():
        assert "rich.markup" not in path.read_text("utf-8"), path


# Where a rename is not how a file or folder becomes visible.
OTHER_RENAMES = {
    "applications/movielens/sample_data.py": "takes a download whose hash is looked at before use",
    "components/pusher/versions_folder.py": "hides a version that is about to be deleted",
    "applications/commands/scoring/job.py": "names many files of scored rows in a hidden folder",
    "spark_io/publishing/publish.py": "names many shards in a hidden folder, with one sync for all",
}


def renames(path: Path) -> list[str]:
    """Returns the calls of a module that rename a file.

    Others have methods of these names, too: `str.replace` takes two arguments, and those of
    dataclasses, datetime and pandas take keywords.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        of_module = (owner, name) in {
            ("os", "rename"), ("os", "renames"), ("os", "replace"), ("shutil", "move"),
        }  # fmt: skip
        of_path = name in ("rename", "replace") and len(node.args) == 1 and not node.keywords
        if of_module or of_path:
            found.append(ast.unparse(node))
    return found


def test_files_are_replaced_in_base_alone() -> None:
    found = {str(path.relative_to(ROOT)) for path in modules() if renames(path)}
    assert found == {"base/atomic_files.py", *OTHER_RENAMES}, "use base.atomic_files"


def test_locks_are_taken_in_base_alone() -> None:
    found = [str(p.relative_to(ROOT)) for p in modules() if "fcntl" in p.read_text("utf-8")]
    assert found == ["base/locks.py"], "use base.locks"


@pytest.mark.parametrize(
    "name",
    [
        shared_names.RUN_SUMMARY,
        shared_names.RUN_REPORT,
        shared_names.RUN_LOG,
        shared_names.EXAMPLES_MANIFEST,
        shared_names.EVALUATION_VERDICT,
        shared_names.MODELS_CONFIG,
        shared_names.WITHDRAWN_MARK,
        shared_names.ASSETS_EXTRA,
        shared_names.OPEN_HOUR_PREFIX,
    ],
)
def test_a_shared_name_is_written_once(name: str) -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value == name
    }
    assert found == {"base/shared_names.py"}, "use base.shared_names"
