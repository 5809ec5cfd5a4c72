"""The files that people expect beside the code say what is true."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from pathlib import Path

import pytest

from tests.product import PACKAGES, ROOT, modules

pytestmark = pytest.mark.unit

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    + [path for name in (*PACKAGES, "benchmarks", "requirements", "schemas", "tests")
       for path in (ROOT / name).rglob("*.md")]
)  # fmt: skip
README = (ROOT / "README.md").read_text("utf-8")
CODE = re.compile(r"^(?:```.*?^```|(?: {4}|\t).*?$)", re.MULTILINE | re.DOTALL)


def version() -> str:
    """Returns the version that setup.py states."""
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    stated = [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword)
        and node.arg == "version"
        and isinstance(node.value, ast.Constant)
    ]
    assert len(stated) == 1
    return str(stated[0])


def test_the_license_is_the_whole_text_of_apache_2() -> None:
    content = (ROOT / "LICENSE").read_bytes()
    apache = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256(content).hexdigest() == apache


def test_the_newest_release_in_the_changelog_is_the_version() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    number, _, date = headings[1].partition(", ")
    assert number == version()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)


def test_the_version_is_stated_once() -> None:
    others = [*modules(), ROOT / "pyproject.toml", ROOT / "kubeflow" / "Containerfile"]
    stating = [path for path in others if f'"{version()}"' in path.read_text("utf-8")]
    assert stating == [], "setup.py alone states the version"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_relative_link_leads_somewhere(page) -> None:
    text = CODE.sub("", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            if anchor:
                assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^a-z0-9_ -]", "", heading).replace(" ", "-") for heading in plain}


def test_the_readme_lists_every_folder() -> None:
    _, _, places = README.partition("## Where things are")
    folders = [*PACKAGES, "benchmarks", "docs", "requirements", "schemas", "tests"]
    missing = [name for name in folders if not re.search(rf"`{name}/", places)]
    assert missing == []


def test_every_module_that_the_readme_runs_exists() -> None:
    names = re.findall(r"python -m ([\w.]+)", README)
    assert len(set(names)) > 8
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    assert missing == []


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"make ([a-z][a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
