"""A run's report as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lineage.report.facts import gather
from lineage.report.page import render
from lineage.store import LineageStore


def write_report(
    store: LineageStore,
    run_id: str,
    summaries: Path | None,
    path: Path,
    places: Mapping[str, str] | None = None,
) -> None:
    """Writes it under another name first: a reader never sees half of it.

    Args:
      store: where to look.
      run_id: of the run, or 'latest'.
      summaries: folder of <run_id>/ with run_summary.json and run.log; None: unknown.
      path: of the page.
      places: of a run elsewhere: URI -> folder, of artifacts that this machine has a copy of.

    Raises:
      LineageError: there is no such run.
      OSError: the file cannot be written.
    """
    page = render(gather(store, run_id, summaries, places))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(page, "utf-8")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
