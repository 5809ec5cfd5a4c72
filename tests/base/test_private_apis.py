"""Each private name of a library that the product uses stands in docs/decisions.md, with a test."""

from __future__ import annotations

import ast
import re

import pytest

from tests.product import ROOT, modules

pytestmark = pytest.mark.unit

TABLE = (ROOT / "docs" / "decisions.md").read_text("utf-8").partition("## Private APIs")[2]
DOCUMENTED = {"_exit"}  # of os
PRIVATE = re.compile(r"_[A-Za-z]\w*")


def names_made_in(tree: ast.AST) -> set[str]:
    """Returns the names that a module defines or assigns to, attributes included."""
    made = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            made.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.id)
    return made


def private_names_used_in(tree: ast.AST, ours: set[str]) -> set[str]:
    """Returns the private names that a module takes from objects and modules of others.

    Args:
      tree: The module.
      ours: All names that the product makes; on `self` and `cls` these may be inherited.
    """
    used, here = set(), names_made_in(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported = [*(node.module or "").split("."), *(one.name for one in node.names)]
            used |= {name for name in imported if PRIVATE.fullmatch(name)}
        elif isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr not in (ours if own else here):
                used.add(node.attr)
    return used


def private_names() -> set[str]:
    trees = [ast.parse(path.read_text("utf-8")) for path in modules()]
    ours = set().union(*map(names_made_in, trees))
    found = set().union(*(private_names_used_in(tree, ours) for tree in trees))
    return found - DOCUMENTED


def rows() -> list[list[str]]:
    lines = [line for line in TABLE.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_private_name_is_listed() -> None:
    missing = {name for name in private_names() if name not in TABLE}
    assert missing == set(), "use a public way, or say why there is none in docs/decisions.md"


def test_no_listed_name_is_gone_from_the_product() -> None:
    text = "\n".join(path.read_text("utf-8") for path in modules())
    listed = {name for row in rows() for name in re.findall(r"`[^`]*?(?:\w+\.)?(\w+)`", row[0])}
    assert {name for name in listed if name not in text} == set()


def test_every_row_names_files_and_tests_that_there_are() -> None:
    for api, where, why, breaks, tests in rows():
        assert why and breaks, api
        for path in re.findall(r"`([^`]+)`", f"{where} {tests}"):
            assert (ROOT / path).exists(), f"{api}: {path}"
        assert "tests/" in tests, api
