"""What nobody looked up is not called safe."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "requirements"))
from audit import report

pytestmark = pytest.mark.unit

SAFE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "version": "3", "skip_reason": "Dependency not found on PyPI"}


def test_nothing_is_known() -> None:
    assert report({"x.txt": {"dependencies": [SAFE]}}, []) == (
        ["x.txt: 1 packages looked up", "no known vulnerability"],
        0,
    )


def test_what_could_not_be_looked_up_is_no_success() -> None:
    lines, code = report({"x.txt": {"dependencies": [SAFE, UNKNOWN]}}, [])
    assert code == 2
    assert "x.txt: 1 of 2 packages could not be looked up: c" in lines
    lines, code = report({}, ["x.txt: pip-audit failed"])
    assert code == 2
    assert "not everything was audited" in lines[-1]


def test_a_vulnerability_is_named_with_its_remedy() -> None:
    lines, code = report({"x.txt": {"dependencies": [BAD, UNKNOWN]}}, [])
    assert code == 1
    assert "x.txt: b 2: PYSEC-1, fixed in 3" in lines
