"""Imports without garbage collection."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from local_run.loaded_process import without_garbage_collection, worker_count

ROOT = Path(__file__).resolve().parents[2]


def test_loaded_objects_are_excluded_from_garbage_collection() -> None:
    before = gc.get_freeze_count()
    try:
        with without_garbage_collection():
            assert not gc.isenabled()
            kept: list[list[int]] = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()  # other tests' objects are among them


def test_a_failed_import_leaves_garbage_collection_on() -> None:
    with pytest.raises(ImportError), without_garbage_collection():
        raise ImportError
    gc.unfreeze()
    assert gc.isenabled()


@pytest.mark.parametrize(("cores", "workers"), [(None, 1), (1, 1), (2, 2), (64, 4)])
def test_a_worker_for_each_core_up_to_four(monkeypatch, cores, workers) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert worker_count() == workers


# In a process of its own, which takes the other one with it.
LOAD_AHEAD = """
import importlib, os, sys
from pathlib import Path
import psutil
module = importlib.import_module(sys.argv[1])
module._LIBRARIES = ()
os.cpu_count = lambda: 2
module.load_ahead(*map(Path, sys.argv[2:]))
print([child.cmdline() for child in psutil.Process().children()])
"""


@pytest.mark.parametrize("module", ["local_run.loaded_process", "streaming.operation.warm_process"])
def test_the_process_to_fork_from_is_there_before_anything_is_forked(
    module: str, tmp_path: Path
) -> None:
    log = [str(tmp_path / "log")] if module.startswith("streaming") else []
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AHEAD, module, *log],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "multiprocessing.forkserver" in done.stdout
