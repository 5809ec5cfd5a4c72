"""Evaluations are read by small commands, in a process that has imported nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.unit

READ = """
import sys
from components.evaluator import evaluation_files
protos = evaluation_files._protos()
assert protos.MetricsForSlice.FromString(b"") is not None
assert "tensorflow" not in sys.modules
"""


def test_it_needs_no_module_that_another_one_has_to_import() -> None:
    """TFMA's module for TFX 1.21 does not import a module of protobuf that it needs."""
    subprocess.run([sys.executable, "-c", READ], check=True, timeout=120)
