"""DeepCTR, the peer of our networks, in an environment of its own: made once, by its own lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

_PEER = Path(__file__).with_name("deepctr_peer.py")


def run_deepctr(arguments: dict[str, Any]) -> dict[str, Any]:
    """What deepctr_peer.py answers; it says what the arguments are.

    Raises:
      RuntimeError: it failed; with the end of its output.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [str(_python()), str(_PEER), json.dumps(arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"DeepCTR {arguments} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _python() -> Path:
    """The Python of DeepCTR's environment, which is made if it is not there."""
    make = [sys.executable, str(ROOT / "requirements" / "own_environment.py"), "deepctr"]
    done = subprocess.run(make, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())
