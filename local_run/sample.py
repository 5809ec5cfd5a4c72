"""Makes the sample data that a config asks for, unless it exists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.config import ConfigError, PipelineConfig


def ensure_sample_data(config: PipelineConfig) -> None:
    """Runs the application's module `sample_data`, unless `data_root` already has the data.

    Raises:
      ConfigError: There is neither data nor a generator, or the generator failed.
    """
    root = Path(config.data_root)
    if config.sample_data is None:
        if not root.is_dir():
            raise ConfigError(f"data_root: there is no folder {root}")
        return
    command = [sys.executable, "-m", f"{config.application}.sample_data", "--out", str(root)]
    for name, value in config.sample_data.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    if subprocess.run(command, check=False).returncode != 0:
        raise ConfigError(f"sample_data: cannot make {root}; see the generator's error above")
