"""No file has pyarrow run what is in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.product import ROOT, modules

pytestmark = pytest.mark.unit

IMPORTS = re.compile(r"^\s*(import pyarrow|from pyarrow)", re.MULTILINE)


def test_whoever_imports_pyarrow_imports_the_hotfix() -> None:
    found = [path for path in modules() if IMPORTS.search(path.read_text("utf-8"))]
    assert len(found) > 5
    without = [
        path.relative_to(ROOT)
        for path in found
        if "import base.arrow" not in path.read_text("utf-8") and path.name != "arrow.py"
    ]
    assert without == []


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """Tried with the versions of pyarrow that would: later ones are fixed."""
    import pyarrow
    from pyarrow import ipc

    import base.arrow  # noqa: F401  # what is tested

    if int(pyarrow.__version__.partition(".")[0]) > 14:
        return
    ran = tmp_path / "ran"

    class Evil(pyarrow.PyExtensionType):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pyarrow.PyExtensionType.__init__(self, pyarrow.int64())

        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    array = pyarrow.ExtensionArray.from_storage(Evil(), pyarrow.array([1]))
    batch = pyarrow.record_batch([array], ["a"])
    sink = pyarrow.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(Exception, match=r"Disallowed|extension|PyExtensionType"):
        ipc.open_stream(sink.getvalue()).read_all().column("a").to_pylist()
    assert not ran.exists()
