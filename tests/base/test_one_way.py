"""There is one way to print, to end with an error, and to read others' JSON: in base."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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
