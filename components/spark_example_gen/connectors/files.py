"""Files: which there are, what is in them, and their rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import google_crc32c
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from components.errors import ComponentError
from components.spark_example_gen.connectors.file_schemas import check_same_columns
from components.spark_example_gen.connectors.found import CORRUPT, Found, Place, Read
from components.spark_example_gen.connectors.hadoop import HadoopFiles, require_folder
from components.spark_example_gen.connectors.json_lines import parse_json
from components.spark_example_gen.connectors.tfrecords import read_tfrecords
from components.spark_example_gen.rows import LINE
from components.spark_example_gen.sources import FileSource
from components.spark_example_gen.spans import SpanPattern, SpanRange, resolve


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
    chosen = resolve(
        pattern,
        files.list(pattern.glob),
        wanted,
        source=name,
        base=base,
        spans_after=source.spans_after,
        missing=source.missing_spans,
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
    if source.format == "json":
        lines = spark.read.text(uris).select(F.col("value").alias(LINE))
        lines = lines.where(F.trim(F.col(LINE)) != "")
        return Read(parse_json(lines, source.columns, source.options), is_text=True)
    if source.format == "csv":
        return Read(_read_csv(spark, name, source, files, paths), is_text=True)
    if source.format == "tfrecord":
        return Read(read_tfrecords(spark, source, uris))
    columns = set(source.columns) or None
    check_same_columns(spark, name, source.format, uris, columns)
    return Read(spark.read.format(source.format).options(**source.options).load(uris), keep=False)


def _read_csv(
    spark: SparkSession, name: str, source: FileSource, files: HadoopFiles, paths: list[str]
) -> DataFrame:
    # Spark takes CSV columns by position: the schema follows the header of the files.
    header = csv_header(name, source, {path: files.first_line(path) for path in paths})
    types = {column: source.columns.get(column, "string") for column in header}
    columns = ", ".join(f"`{column}` {kind}" for column, kind in types.items())
    reader = spark.read.schema(f"{columns}, {CORRUPT} string").option("mode", "PERMISSIVE")
    reader = reader.option("columnNameOfCorruptRecord", CORRUPT)
    reader = reader.option("header", "true").option("escape", '"').options(**source.options)
    frame = reader.format("csv").load([files.uri(path) for path in paths])
    return frame.select(*[F.col(f"`{column}`") for column in source.columns], CORRUPT)


def csv_header(name: str, source: FileSource, first_lines: dict[str, str]) -> list[str]:
    """The columns of the files, which must be the same in all of them.

    Args:
      name: of the source.
      source: its options may name the separator.
      first_lines: path -> first line.

    Raises:
      ComponentError: a declared column is missing, or a file has other columns than the first one.
    """
    separator = source.options.get("sep", source.options.get("delimiter", ","))
    present = {
        path: next(csv.reader([line], delimiter=separator))
        for path, line in first_lines.items()
        if line
    }
    if not present:
        raise ComponentError(f"source '{name}' is empty: its files hold no row")
    first, header = next(iter(present.items()))
    for path, other in present.items():
        if other != header:
            raise ComponentError(
                f"source '{name}': {path} has the columns {', '.join(other)}, but {first} has "
                f"{', '.join(header)}; bring them into one form"
            )
    for column in source.columns:
        if column not in header:
            raise missing_column(name, column, header)
    return header


def missing_column(name: str, column: str, present: list[str]) -> ComponentError:
    return ComponentError(
        f"source '{name}' has no column '{column}' (or nothing in it); it has: "
        f"{', '.join(sorted(present))}. Mend the data or `columns` in the config"
    )
