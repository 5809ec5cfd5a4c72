"""The code fingerprint sees every edit of the application, and nothing else."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.code_fingerprint import code_sha256, module_closure
from base.errors import ComponentError

pytestmark = pytest.mark.unit


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """shop/etl.py uses shop/rates.py (relative) and tools.py; shop/model.py is unrelated."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "etl.py").write_text(
        "import json\nfrom shop import names\nfrom .rates import rate\n"
        "from shop.deep.end import x\n"
    )
    (folder / "rates.py").write_text("import pyspark\nimport base.errors\ndef rate(): ...\n")
    (folder / "names.py").write_text("")
    (folder / "model.py").write_text("")
    (folder / "deep").mkdir()
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "end.py").write_text("from ..rates import rate\nx = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_the_closure_follows_imports_of_the_application_and_into_this_project(
    app: Path,
) -> None:
    reached = set(module_closure("shop.etl.build"))
    of_the_application = {
        "shop", "shop.etl", "shop.names", "shop.rates", "shop.deep", "shop.deep.end",
    }  # fmt: skip
    assert reached == of_the_application | {"base", "base.errors"}


@pytest.mark.parametrize("edited", ["etl.py", "rates.py", "names.py", "deep/end.py"])
def test_an_edit_of_anything_used_changes_the_hash(app: Path, edited: str) -> None:
    before = code_sha256("shop.etl.build")
    with (app / edited).open("a") as file:
        file.write("# edited\n")
    assert code_sha256("shop.etl.build") != before


def test_an_edit_elsewhere_does_not(app: Path) -> None:
    before = code_sha256("shop.etl.build")
    (app / "model.py").write_text("y = 2\n")
    assert code_sha256("shop.etl.build") == before


def test_the_ctr_etl_reaches_its_parts() -> None:
    closure = module_closure("applications.ctr.etl.build_examples")
    assert {"applications.ctr.etl", "applications.ctr.features", "features.batch"} <= set(closure)


@pytest.mark.parametrize("path", ["nosuchpackage.etl.build", "shop.nothing.build"])
def test_a_path_that_leads_nowhere(app: Path, path: str) -> None:
    with pytest.raises(ComponentError):
        code_sha256(path)


def test_a_syntax_error_names_module_and_line(app: Path) -> None:
    (app / "etl.py").write_text("def broken(:\n")
    with pytest.raises(ComponentError, match=r"shop\.etl is not valid Python.*line 1"):
        code_sha256("shop.etl.build")


def test_components_know_no_application() -> None:
    """Code and text below components/ name nothing of the applications' fields."""
    folder = Path(__file__).resolve().parents[2] / "components"
    foreign = re.compile(r"\b(ctr|clicks|clicked|user_id|impressions?|fraud)\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(folder)}: {match.group()}"
        for path in folder.rglob("*")
        if path.suffix in (".py", ".md")
        for match in foreign.finditer(path.read_text())
    ]
    assert found == []
