"""A run's report as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lineage.report.facts import gather
from lineage.report.page import render
from lineage.whole_file import write_whole
from metadata.reader import LineageStore


def write_report(
    store: LineageStore,
    run_id: str,
    summaries: Path | None,
    path: Path,
    places: Mapping[str, str] | None = None,
) -> None:
    """Whole, or not at all.

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
    write_whole(path, render(gather(store, run_id, summaries, places)))
