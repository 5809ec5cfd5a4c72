"""Makes an environment for a program whose packages do not fit those of .venv.

    python requirements/own_environment.py feast     # .venv-feast, from feast.txt

It prints the environment's Python. Nothing is done if the environment is what the lock says.
Standard library only, for the Python of .venv; a failure is one line.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path

from install import LOCKS, ROOT, bring_uv, find_uv, log, only_one_setup, run, runs, sha256
from machine import Interpreter, SetupError


def make(name: str) -> Path:
    """Makes .venv-NAME from the lock NAME.txt, and returns its Python.

    Raises:
      SetupError: An installation failed.
    """
    environment, lock = ROOT / f".venv-{name}", LOCKS / f"{name}.txt"
    python, stamp = environment / "bin" / "python", environment / "lock.sha256"
    wanted = sha256([lock])
    if stamp.is_file() and stamp.read_text() == wanted and runs(environment):
        return python
    uv = find_uv() or bring_uv(this_python())
    print(f"installing {lock.name} into {environment.name} ...")
    shutil.rmtree(environment, ignore_errors=True)
    run([str(uv), "venv", "--no-python-downloads", f"--python={sys.executable}", str(environment)])
    sync = [str(uv), "pip", "sync", "--require-hashes"]
    run([*sync, f"--python={python}", f"--build-constraints={LOCKS / 'build.txt'}", str(lock)])
    stamp.write_text(wanted)  # last: without it the environment is made anew
    return python


def this_python() -> Interpreter:
    """Returns the Python that runs this."""
    return Interpreter(sys.version_info[:3], Path(sys.executable), headers=False)


def main(name: str) -> int:
    try:
        log().touch()
        with only_one_setup(), contextlib.redirect_stdout(sys.stderr):
            python = make(name)
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
