"""DeepCTR, the peer of our networks, in an environment of its own: made once, by its own lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

_ENVIRONMENT = ROOT / ".venv-deepctr"
_LOCK = ROOT / "requirements" / "deepctr.txt"
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
    """The Python of the environment, which is made if it is not there."""
    python, lock = _ENVIRONMENT / "bin" / "python", _LOCK.read_text("utf-8")
    stamp = _ENVIRONMENT / "lock.txt"
    if not stamp.is_file() or stamp.read_text("utf-8") != lock:
        print(f"installing DeepCTR into {_ENVIRONMENT.name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*install, "-r", str(_LOCK)], check=True)
        stamp.write_text(lock, "utf-8")
    return python
