"""What nobody looked up is not called safe."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "requirements"))
from audit import HERE, LOCKS, for_every_python, report

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


def test_every_lock_is_asked_about() -> None:
    assert {"tfx-1.16.txt", "tfx-1.21.txt", "feast.txt", "deepctr.txt"} < {*LOCKS}


def test_no_version_is_left_out_because_it_is_for_another_python() -> None:
    lock = """# Made by a program.
a==1 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:ab
    # via b
a==2 ; python_full_version >= '3.12' \\
    --hash=sha256:ac
b==3 \\
    --hash=sha256:ba
c==4 ; sys_platform == 'win32'
"""
    first, second = for_every_python(lock)
    assert first.splitlines() == [
        "a==1 \\", "    --hash=sha256:aa \\", "    --hash=sha256:ab", "    # via b",
        "b==3 \\", "    --hash=sha256:ba", "c==4",
    ]  # fmt: skip
    assert second.splitlines() == ["a==2 \\", "    --hash=sha256:ac"]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_package_of_a_lock_is_once_in_each_of_its_files(lock: str) -> None:
    text = (HERE / lock).read_text()
    locked = [line.split()[0] for line in text.splitlines() if line[:1].isalnum()]
    files = [
        [line.split()[0] for line in one.splitlines() if line[:1].isalnum()]
        for one in for_every_python(text)
    ]
    assert sorted(name for one in files for name in one) == sorted(locked)
    for one in files:
        names = [name.partition("==")[0] for name in one]
        assert len(names) == len({*names})


def test_a_vulnerability_is_named_with_its_remedy() -> None:
    lines, code = report({"x.txt": {"dependencies": [BAD, UNKNOWN]}}, [])
    assert code == 1
    assert "x.txt: b 2: PYSEC-1, fixed in 3" in lines
