"""Writes a run's report to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lineage.report.facts import gather
from lineage.report.page import render
from lineage.whole_file import write_whole
from metadata.reader import MetadataReader


def write_report(
    store: MetadataReader,
    run_id: str,
    summaries: Path | None,
    path: Path,
    places: Mapping[str, str] | None = None,
) -> None:
    """Writes the whole report, or no file.

    Args:
      store: Store to read.
      run_id: Id of the run, or 'latest'.
      summaries: Folder of <run_id>/ folders with run_summary.json and run.log; None: unknown.
      path: Path of the page.
      places: URI -> local copy, for the artifacts of a run on other machines.

    Raises:
      MetadataError: There is no such run.
      OSError: The file cannot be written.
    """
    write_whole(path, render(gather(store, run_id, summaries, places)))
