"""The simulator's data, made by its command as a person would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import ROOT


def sample_data(application: str, folder: Path, **options: float) -> None:
    """Runs `python -m applications.NAME.sample_data --out FOLDER`, with options by their names."""
    command = [
        sys.executable,
        "-m",
        f"applications.{application}.sample_data",
        "--out",
        str(folder),
    ]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
