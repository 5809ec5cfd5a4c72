"""Runs the commands of `python -m applications --help`."""

from __future__ import annotations

import logging
import os
import warnings

# Must precede TensorFlow, as in local_runner.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

from applications.commands.group import main

warnings.filterwarnings("ignore", category=FutureWarning)
logging.getLogger("tensorflow").setLevel(logging.ERROR)

if __name__ == "__main__":
    main(prog_name="python -m applications")
