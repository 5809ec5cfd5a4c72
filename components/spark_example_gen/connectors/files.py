"""Files: which there are, what is in them, and their rows."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import google_crc32c
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from components.errors import ComponentError
from components.spark_example_gen.connectors.csv_lines import read_csv
from components.spark_example_gen.connectors.file_schemas import check_same_columns
from components.spark_example_gen.connectors.found import Found, Place, Read
from components.spark_example_gen.connectors.hadoop import HadoopFiles, require_folder
from components.spark_example_gen.connectors.json_lines import parse_json
from components.spark_example_gen.connectors.lines import read_lines
from components.spark_example_gen.connectors.tfrecords import read_tfrecords
from components.spark_example_gen.rows import quoted
from components.spark_example_gen.sources import FileSource
from components.spark_example_gen.spans import SpanPattern, SpanRange, resolve, resolve_before

_PATTERN_CHARACTERS = "*?[]{}\\,"


def find(name: str, source: FileSource, wanted: SpanRange, place: Place) -> Found:
    """The files of the wanted spans, with sizes and checksums.

    Raises:
      ComponentError: no such folder, and what `spans.resolve` raises.
    """
    base, relative = source.place(place.base)
    pattern = SpanPattern(relative)
    files = LocalFiles(base) if source.is_local(place.base) else HadoopFiles(place.session(), base)
    if isinstance(files, HadoopFiles):
        require_folder(files, name, base)
    elif not files.exists():
        raise ComponentError(f"source '{name}': the folder {base} does not exist")
    paths = files.list(pattern.glob)
    if source.spans_before:
        chosen = resolve_before(pattern, paths, wanted, source.spans_before)
    else:
        chosen = resolve(
            pattern,
            paths,
            wanted,
            source=name,
            base=base,
            spans_after=source.spans_after,
            missing=source.missing_spans,
        )
    for path in chosen.paths():
        if set(path) & set(_PATTERN_CHARACTERS):
            raise ComponentError(
                f"source '{name}': the name of {path} holds one of {_PATTERN_CHARACTERS}, which "
                "Spark takes for a pattern or a list; rename it"
            )
    facts: dict[str, Any] = {"files": [files.describe(path) for path in chosen.paths()]}
    if "://" in source.path:
        facts["base"] = base
    return Found(
        spans=tuple(sorted(chosen.files)) if pattern.has_spans else (0,),
        version=chosen.version,
        hourly=pattern.hourly if pattern.tokens & {"YYYY"} else None,
        facts=facts,
        has_spans=pattern.has_spans,
    )


def check_unchanged(
    spark: SparkSession, name: str, source: FileSource, found: Found, base: str
) -> None:
    """Files are read several times: counted, joined, read again where a task is tried again.

    Raises:
      ComponentError: one is not what it was when it was found.
    """
    folder = source.place(base)[0]
    files = LocalFiles(folder) if source.is_local(base) else HadoopFiles(spark, folder)
    for was in found.facts["files"]:
        try:
            now = files.describe(was["path"])
        except (ComponentError, Py4JJavaError):  # gone
            now = None
        if now != was:
            raise ComponentError(
                f"source '{name}': {was['path']} changed while it was being read; run again"
            )


def cut_short(source: FileSource, found: Found, base: str) -> Path | None:
    """The first gzipped file, of local ones, that cannot be read to its end: Spark names none."""
    if not source.is_local(base):
        return None
    for file in found.facts["files"]:
        path = Path(source.place(base)[0]) / file["path"]
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content:
                while content.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error):
            return path
    return None


class LocalFiles:
    """One folder of this machine, or mounted on it; needs no JVM."""

    def __init__(self, base: str):
        self._base = Path(base)

    def exists(self) -> bool:
        return self._base.is_dir()

    def list(self, glob: str) -> list[str]:
        """Relative paths of the files that match."""
        paths = self._base.glob(glob)
        return [path.relative_to(self._base).as_posix() for path in paths if path.is_file()]

    def describe(self, path: str) -> dict[str, Any]:
        """Size, and CRC32C of the contents: a touched file is the same file."""
        checksum = google_crc32c.Checksum()
        try:
            with (self._base / path).open("rb") as file:
                for _ in checksum.consume(file, 1 << 20):
                    pass
                size = file.tell()
        except OSError as error:
            raise ComponentError(f"cannot read {self._base / path}: {error.strerror}") from error
        return {"path": path, "bytes": size, "checksum": f"crc32c:{checksum.digest().hex()}"}


def read(spark: SparkSession, name: str, source: FileSource, found: Found, base: str) -> Read:
    """The rows of the files.

    Raises:
      ComponentError: files of one source with different columns, or damaged ones.
    """
    files = HadoopFiles(spark, source.place(base)[0])
    paths = [file["path"] for file in found.facts["files"]]
    uris = [files.uri(path) for path in paths]
    if not uris:  # of spans_before; every other source has files
        types = ", ".join(f"{quoted(column)} {kind}" for column, kind in source.columns.items())
        return Read(spark.createDataFrame([], types), keep=False)
    if source.format == "json":
        lines = read_lines(spark, uris)
        return Read(parse_json(lines, source.columns, source.options), is_text=True)
    if source.format == "csv":
        return Read(read_csv(spark, name, source, files, paths), is_text=True)
    if source.format == "tfrecord":
        return Read(read_tfrecords(spark, name, source, uris))
    columns = set(source.columns) or None
    check_same_columns(spark, name, source.format, uris, columns)
    return Read(spark.read.format(source.format).options(**source.options).load(uris), keep=False)
