"""Runs the code cells of a notebook in order, in one namespace: FILE [NAME=VALUE ...]

TFX 1.21's lock has no Jupyter kernel, so the cells run without one. IPython's `display` prints.
The values replace those of the cell with the tag `parameters`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(file: str, *values: str) -> None:
    cells = json.loads(Path(file).read_text("utf-8"))["cells"]
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        code = compile("".join(cell["source"]), f"cell {number}", "exec")
        exec(code, namespace)  # noqa: S102 - a notebook of ours
        if "parameters" in cell["metadata"].get("tags", []):
            given = dict(value.split("=", 1) for value in values)
            assert given.keys() <= namespace.keys(), "there is no such parameter"
            namespace |= given


if __name__ == "__main__":
    main(*sys.argv[1:])
