"""Sets up Jinja2 for pages: everything is escaped, and a missing name is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from lineage.text import duration, size, when


def environment(folder: Path, filters: Mapping[str, Callable[[Any], str]]) -> jinja2.Environment:
    """Returns the environment for a folder's templates; `filters` are added to the common ones."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    every = {"when": when, "duration": duration, "size": size, "count": lambda n: f"{n:,.0f}"}
    made.filters |= {**every, **filters}
    return made
