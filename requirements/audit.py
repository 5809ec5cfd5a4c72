"""Are there known vulnerabilities in what is locked? `make audit` asks, and says what nobody knows.

pip-audit counts a package that its database does not answer for as skipped, and ends with "No known
vulnerabilities found". Here such a package is a failure of its own: exit code 2.

A lock is for several versions of Python. pip-audit leaves out, without a word, the lines that are
not for its own. So it gets all lines, and each version of a package in another file.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCKS = sorted(path.name for path in HERE.glob("*.txt"))
_TOOL = HERE.parent / ".venv-audit"


def main() -> int:
    """0: nothing is known; 1: something is; 2: not everything could be asked for."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for lock in LOCKS:
        print(f"audit: {lock} ...", flush=True)
        answer = _asked((HERE / lock).read_text())
        if isinstance(answer, str):
            problems.append(f"{lock}: {answer}")
        else:
            found[lock] = answer
    lines, code = report(found, problems)
    print("\n".join(lines))
    return code


def report(found: dict[str, Any], problems: Iterable[str]) -> tuple[list[str], int]:
    """What a person reads, and the exit code.

    Args:
      found: lock -> the JSON of pip-audit.
      problems: locks that nobody was asked about, and why.
    """
    lines, unknown, vulnerable = [], [*problems], 0
    for lock, answer in found.items():
        asked = answer["dependencies"]
        for one in asked:
            for known in one.get("vulns", []):
                vulnerable += 1
                mended = ", ".join(known.get("fix_versions", [])) or "no version yet"
                lines.append(
                    f"{lock}: {one['name']} {one['version']}: {known['id']}, fixed in {mended}"
                )
        skipped = [one["name"] for one in asked if "skip_reason" in one]
        if skipped:
            shown = ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else "")
            unknown.append(
                f"{lock}: {len(skipped)} of {len(asked)} packages could not be looked up: {shown}"
            )
        lines.append(f"{lock}: {len(asked) - len(skipped)} packages looked up")
    lines += unknown
    if unknown:
        lines.append(
            "not everything was audited: the advisory database was not reached, or does not know "
            "these packages. Run `make audit` where it is reachable"
        )
    if vulnerable:
        lines.append(f"{vulnerable} known vulnerabilities")
        return lines, 1
    return (lines, 2) if unknown else ([*lines, "no known vulnerability"], 0)


def for_every_python(lock: str) -> list[str]:
    """Returns the text of a lock without conditions, as several in which no package is there twice.

    Args:
      lock: Text of a lock, of lines NAME==VERSION ; CONDITION, each with lines of hashes below.
    """
    texts: list[list[str]] = []
    seen: list[set[str]] = []
    place = 0
    for line in lock.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            name, rest = line.split("==", 1)
            place = next((n for n, names in enumerate(seen) if name not in names), len(seen))
            if place == len(seen):
                texts.append([])
                seen.append(set())
            seen[place].add(name)
            continued = " \\" if line.endswith("\\") else ""
            line = f"{name}=={rest.removesuffix(continued).partition(';')[0].strip()}{continued}"
        if texts:
            texts[place].append(line)
    return ["\n".join([*lines, ""]) for lines in texts]


def _asked(lock: str) -> Any:
    """The JSON of pip-audit for the text of a lock, or why there is none."""
    found: list[Any] = []
    for text in for_every_python(lock):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lock.txt"
            path.write_text(text)
            command = [
                str(_tool()), "--requirement", str(path), "--disable-pip", "--require-hashes",
                "--format", "json", "--progress-spinner", "off", "--timeout", "30",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            found += json.loads(done.stdout)["dependencies"]
        except ValueError:
            last = done.stderr.strip().splitlines()[-1:] or ["no answer"]
            return f"pip-audit failed: {last[0][:300]}"
    return {"dependencies": found}


def _tool() -> Path:
    """pip-audit, in an environment of its own."""
    program = _TOOL / "bin" / "pip-audit"
    if not program.exists():
        venv.create(_TOOL, with_pip=True, clear=True)
        pip = [str(_TOOL / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--require-hashes", "-r", str(HERE / "audit.txt")], check=True)
    return program


if __name__ == "__main__":
    sys.exit(main())
