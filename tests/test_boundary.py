"""Nothing outside applications/ knows an application's words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.product import PACKAGES, ROOT

pytestmark = pytest.mark.unit

WORDS = re.compile(
    r"impression|clicked|clicks\b|click_|_click|click-through|a click|the click|user_id|item_id"
    r"|chargeback|merchant|fraud|\bfilm|movielens|applications[./][a-z]|\bctr\b|_ctr_|_ctr\b"
)
KINDS = (".py", ".yaml", ".j2", ".js", ".css", ".toml", ".sh", ".config")


def searched() -> list[Path]:
    folders = [ROOT / name for name in PACKAGES if name not in ("applications", "dev_services")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in KINDS]
    return [*files, ROOT / "local_runner.py"]


def test_no_file_names_an_application() -> None:
    files = searched()
    assert len(files) > 300
    found = {str(path.relative_to(ROOT)) for path in files if WORDS.search(path.read_text("utf-8"))}
    assert found == set(), "say it in general words, or move it to applications/"
