"""The connector for files: finds, checks and reads them."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession

from base.errors import ComponentError
from spark_io.connectors import codecs
from spark_io.connectors.connector import ConnectorRows, InputLocation, SourceInput
from spark_io.connectors.csv_lines import read_csv
from spark_io.connectors.file_schemas import check_same_columns
from spark_io.connectors.hadoop import HadoopFiles, for_spark, require_folder
from spark_io.connectors.json_lines import parse_json
from spark_io.connectors.lines import read_lines
from spark_io.connectors.local_files import LocalFiles, opened
from spark_io.connectors.tfrecords import read_tfrecords
from spark_io.sources.column_names import ddl, quoted
from spark_io.sources.source_types import FileSource
from spark_io.sources.span_index import MOST_BYTES, SpanIndex
from spark_io.sources.spans import SpanPattern, SpanRange, resolve

_TEXT_FORMATS = ("json", "csv")
# Columns of Spark's readers for text and whole files.
_READER_COLUMNS = ("value", "path", "content", "length", "modificationTime")


def find(name: str, source: FileSource, wanted: SpanRange, place: InputLocation) -> SourceInput:
    """Finds the files of the wanted spans, with sizes and checksums.

    Raises:
      ComponentError: The folder does not exist, a file name cannot be read, or a span is missing
        (see `spans.resolve`).
    """
    base, relative = source.place(place.base)
    pattern = SpanPattern(relative)
    files = LocalFiles(base) if source.is_local(place.base) else HadoopFiles(place.session(), base)
    if isinstance(files, HadoopFiles):
        require_folder(files, name, base)
    elif not files.exists():
        raise ComponentError(f"source '{name}': the folder {base} does not exist")
    paths = files.matching(pattern)
    index = read_index(name, source, place)
    chosen = resolve(
        pattern, paths, wanted, source=name, base=base, around=source.around, index=index
    )
    _check_names(name, source, chosen.paths(), local=isinstance(files, LocalFiles))
    _check_folder_columns(name, source, pattern, chosen.paths())
    facts: dict[str, Any] = {"files": [files.describe(path) for path in chosen.paths()]}
    if "://" in source.path:
        facts["base"] = base
    last = max(chosen.files, default=0) if wanted.last is None else wanted.last
    return SourceInput(
        spans=tuple(sorted(chosen.files)) if pattern.has_spans else (0,),
        complete_ms=source.complete_ms(last, chosen.files, index.complete_ms if index else None),
        version=chosen.version,
        hourly=pattern.hourly if pattern.tokens & {"YYYY"} else None,
        facts=facts,
        has_spans=pattern.has_spans,
    )


def read_index(name: str, source: FileSource, place: InputLocation) -> SpanIndex | None:
    """Returns the index that the writer of a source keeps; None for a source without one.

    Raises:
      ComponentError: The index is missing or cannot be read.
    """
    if not source.index:
        return None
    base, path = source.index_place(place.base)
    local = "://" not in base
    files = LocalFiles(base) if local else HadoopFiles(place.session(), base)
    try:
        text = files.head(path, MOST_BYTES + 1)
    except (OSError, Py4JJavaError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ComponentError(
            f"source '{name}': the index {base}/{path} cannot be read ({reason}); its writer makes "
            "it with the first spans"
        ) from error
    return SpanIndex.of(text, f"{base}/{path}")


def _check_names(name: str, source: FileSource, paths: list[str], local: bool) -> None:
    for path in paths:
        if not path.isprintable() or (local and ":" in path):
            raise ComponentError(
                f"source '{name}': the name of {path!r} has a colon or a control character, "
                "which Hadoop's file systems cannot read; rename the file"
            )
    if source.format in _TEXT_FORMATS:
        codecs.check_names(name, paths, local)


def _check_folder_columns(
    name: str, source: FileSource, pattern: SpanPattern, paths: list[str]
) -> None:
    """Checks that `folder_columns` matches the columns in folder names, as Hive writes them.

    Raises:
      ComponentError: A folder such as `country=DE` that matches a wildcard is missing from
        `folder_columns`, or a column of `folder_columns` is in no folder name.
    """
    wanted = set(source.folder_columns)
    for path in paths:
        folders = [name for name in path.split("/")[:-1] if "=" in name]
        for folder in pattern.wildcard_folders(path):
            column, between, _ = folder.partition("=")
            if between and column not in wanted:
                raise ComponentError(
                    f"source '{name}': the folder {folder} of {path} holds the column '{column}', "
                    f"which is not in the files; name it in folder_columns: ['{column}']"
                )
        absent = wanted - {folder.partition("=")[0] for folder in folders}
        if absent:
            raise ComponentError(
                f"source '{name}': no folder of {path} is named {min(absent)}=..., but "
                f"folder_columns names {', '.join(source.folder_columns)}"
            )


def check_unchanged(
    spark: SparkSession, name: str, source: FileSource, found: SourceInput, base: str
) -> None:
    """Checks that the files are as they were found, because a run may read them several times.

    Raises:
      ComponentError: A file changed or is missing.
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


def cut_short(source: FileSource, found: SourceInput, base: str) -> Path | None:
    """Returns the first local file that cannot be read to its end; Spark's error names none."""
    if not source.is_local(base):
        return None
    for file in found.facts["files"]:
        path = Path(source.place(base)[0], file["path"])
        try:
            with opened(path) as content:
                while content.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error):
            return path
    return None


def read(
    spark: SparkSession, name: str, source: FileSource, found: SourceInput, base: str
) -> ConnectorRows:
    """Reads the rows of the files.

    Raises:
      ComponentError: A file is damaged, or files have different columns.
    """
    folder = source.place(base)[0]
    files = HadoopFiles(spark, folder)
    paths = [file["path"] for file in found.facts["files"]]
    spark_paths = {path: for_spark(files.uri(path)) for path in paths}
    if not paths:  # an index says that nothing happened
        return ConnectorRows(spark.createDataFrame([], ddl(source.columns)), must_persist=False)
    reader = spark.read
    if source.folder_columns:
        _check_not_in_files(name, _READER_COLUMNS, paths)
        reader = reader.option("basePath", files.uri())
    if source.format in _TEXT_FORMATS:
        quick = LocalFiles(folder) if source.is_local(base) else files
        codecs.check_contents(name, paths, quick)
        for path in (path for path in paths if path.endswith(".bz2")):
            codecs.check_whole_bz2(name, Path(folder) / path)
        if source.format == "csv":
            return ConnectorRows(
                read_csv(reader, name, source, quick, spark_paths), has_reasons=True
            )
        lines = read_lines(reader, list(spark_paths.values()), source.folder_columns)
        return ConnectorRows(parse_json(lines, source.columns, source.options), has_reasons=True)
    if source.format == "tfrecord":
        return ConnectorRows(read_tfrecords(reader, name, source, list(spark_paths.values())))
    uris = [files.uri(path) for path in paths]
    columns = check_same_columns(spark, name, source.format, uris, source.columns)
    _check_not_in_files(name, columns if source.folder_columns else (), paths)
    frame = reader.options(**source.options).format(source.format).load(list(spark_paths.values()))
    if source.folder_columns:
        frame = frame.select(*[quoted(column) for column in (*columns, *source.folder_columns)])
    return ConnectorRows(frame, must_persist=False)


def _check_not_in_files(name: str, columns: Collection[str], paths: list[str]) -> None:
    """Raises ComponentError for a column in both files and folder names: Spark uses the latter."""
    for folder in {folder for path in paths for folder in path.split("/")[:-1]}:
        column, between, _ = folder.partition("=")
        if between and column.lower() in {name.lower() for name in columns}:
            raise ComponentError(
                f"source '{name}': the column '{column}' is in the files and in the name of the "
                f"folder {folder}; leave it out of folder_columns, or rename the folders"
            )
