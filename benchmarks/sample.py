"""The simulator's data, made by its command as a person would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import ROOT


def sample_data(kind: str, folder: Path, **options: float) -> None:
    """Runs `python -m sample_data KIND --out FOLDER`, with options by their names."""
    command = [sys.executable, "-m", "sample_data", kind, "--out", str(folder)]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
