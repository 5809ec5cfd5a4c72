"""What is installed is whole: some packages go on without their half if another is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.unit
@pytest.mark.parametrize("module", ["tensorflow_model_analysis", "ml_metadata"])
def test_it_finds_all_that_it_imports(module: str) -> None:
    """Each catches its own ImportError, and only tells of it."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, check=True
    )
    assert "Error importing" not in done.stderr
