"""Reads the watched folder in batches of files, round by round."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import DataFrame

from base.errors import ComponentError
from spark_io.jobs.errors import explain
from streaming import landing, sources
from streaming.file_rounds import FileBatch, FileRounds, files_of, watched_folder

if TYPE_CHECKING:
    from streaming.ingest import Ingest


class FileReading:
    """Reads present and new files of the watched folder.

    Args:
      ingest: Ingest that lands the batches.
    """

    def __init__(self, ingest: Ingest):
        self._ingest = ingest
        self._rounds = FileRounds(ingest.settings, ingest.layout.broken_files, self._tell)
        for manifest in ingest.manifests:
            self._rounds.note(files_of(manifest))

    def run(self, *, once: bool) -> None:
        """Reads until it is stopped; with `once`, until all present files have been read.

        Raises:
          ComponentError: A batch cannot be read or written.
        """
        ingest = self._ingest
        while not ingest.stopped:
            found = self._rounds.begin()
            while not ingest.stopped and (batch := self._rounds.next_batch()):
                self._read(batch)
            if not ingest.stopped:
                ingest.end_round()
            if found:
                self._rounds.begin()  # reports files that have changed since they were read
            if once:
                return
            ingest.stopping.wait(ingest.settings.trigger_seconds)

    def _read(self, batch: FileBatch) -> None:
        # Hadoop skips damaged blocks of bzip2 without an error.
        if self._rounds.leave_out_broken(batch, ".bz2"):
            return
        ingest = self._ingest
        number = ingest.progress.number + 1

        def facts() -> dict[str, object]:
            return {"files": self._rounds.finished(batch)}

        try:
            ingest.land(
                landing.events(self._lines(batch), ingest.settings),
                number,
                ends_round=batch.ends_round,
                facts=facts,
            )
        except Exception as error:
            landed = ingest.progress.number == number
            if landed or isinstance(error, ComponentError):
                raise
            if not self._rounds.leave_out_broken(batch):
                raise ComponentError(explain(error)) from error
            return
        self._rounds.note(files_of(ingest.newest_manifest))
        self._rounds.done(batch)

    def _lines(self, batch: FileBatch) -> dict[str, DataFrame]:
        """Returns stream -> lines, for the streams that have files in the batch."""
        spark, settings, links = (
            self._ingest.spark,
            self._ingest.settings,
            self._ingest.layout.links,
        )
        shutil.rmtree(links, ignore_errors=True)
        found = {}
        for stream, files in batch.files.items():
            folder = watched_folder(settings, stream).resolve()
            paths = [
                readable(folder / path, links / f"{stream}-{n}") for n, path in enumerate(files)
            ]
            if paths:
                found[stream] = sources.file_lines(spark, paths)
        return found

    def _tell(self, stream: str, path: str, reason: str) -> None:
        place = str(watched_folder(self._ingest.settings, stream) / path)
        self._ingest.report("file", {"stream": stream, "path": place, "reason": reason})


def readable(path: Path, link: Path) -> Path:
    """Returns a path that Spark can read.

    Hadoop parses the text before a colon as the scheme of a URL, so such a file gets a link.

    Args:
      path: Path of a file.
      link: Prefix of the link's path.
    """
    if ":" not in str(path):
        return path
    link.parent.mkdir(parents=True, exist_ok=True)
    place = link.with_name(f"{link.name}-{path.name.replace(':', '-')}")
    place.symlink_to(path)
    return place
