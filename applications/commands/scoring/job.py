"""Scores rows in a Spark process: `python -m applications.commands.scoring.job`.

The request is a ScoreRequest as JSON; the answer is {"manifest": {...}}.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

import base.arrow  # noqa: F401
from applications.commands.scaffold.data_files import find_data_files
from applications.commands.scoring.request import ScoreRequest
from applications.commands.scoring.worker import (
    CLASS,
    REJECTED,
    SCORES,
    Scoring,
    check_model,
    score_writer,
)
from base.atomic_files import fsync_tree, move_durably, write_json
from base.errors import ComponentError
from base.model_outputs import DECISION
from base.repeating import repeated
from base.section import ConfigError
from pipeline.config import PipelineConfig, load_config
from spark_io.connectors import files
from spark_io.connectors.connector import InputLocation
from spark_io.connectors.local_files import LocalFiles
from spark_io.example_job import etl_context
from spark_io.examples.encoding import check_types
from spark_io.examples.rows import with_reserved_columns
from spark_io.examples.shards import REPORT_SCHEMA
from spark_io.jobs.child import answer, log_progress
from spark_io.jobs.errors import explain, hide_secrets
from spark_io.jobs.session import size_shuffles, spark_session
from spark_io.publishing import publish
from spark_io.publishing.staging import staging_folder
from spark_io.sources.column_names import RESERVED, quoted
from spark_io.sources.inputs import Inputs, find_inputs
from spark_io.sources.reading import SourceRows, read_source
from spark_io.sources.source_types import AnySource, FileSource
from spark_io.sources.spans import SpanPattern, SpanRange

MANIFEST = "_manifest.json"  # the underscore hides it from readers of the folder
QUARANTINED_ROWS = "_quarantined"
_FIRST_ROWS = 1_000
_EVERY_SECONDS = 15.0


def score(request: ScoreRequest) -> dict[str, Any]:
    """Scores all rows and publishes the scores as a whole; returns the manifest.

    Raises:
      ComponentError: Rows are lost, too many are rejected, or the model cannot score them. Nothing
        is published then.
    """
    config = load_config(request.config, request.overrides)
    hide_secrets(config.sources)
    features = config.loaded_application().features
    log_progress("loading the model")
    outputs = check_model(request.model, features.single_values, tuple(features.lists))
    settings = dataclasses.asdict(config.spark.spark_config())
    log_progress("starting Spark")
    output = Path(request.output).resolve()
    with spark_session(settings, "applications score") as spark, staging_folder(output) as staging:
        sources, bases, notes = _sources(config, request)
        inputs = _find(spark, config, sources, bases, request)
        rows = _read(spark, sources, inputs, bases)
        primary = next(iter(sources))
        notes += _empty_columns(rows[primary].rows, sources[primary])
        for note in notes:
            log_progress(f"Warning: {note}")
        size_shuffles(spark, settings, max(one.read for one in rows.values()))
        result = _applied(spark, config, sources, inputs, rows)
        scoring, chosen = _scoring(config, request, result, str(staging), primary, outputs)
        for folder in (SCORES, REJECTED):
            (staging / folder).mkdir()
        log_progress(f"scoring {rows[primary].read:,} rows of {primary}")
        # Numbered, because mapInArrow of Spark 3.5 takes a dot in a name for a field of a struct.
        numbered = chosen.toDF(*[f"c{number}" for number in range(len(chosen.columns))])
        with repeated(partial(_show_tasks, spark), _EVERY_SECONDS):
            written = numbered.mapInArrow(score_writer(scoring), REPORT_SCHEMA).collect()
        report = publish.TaskReport.from_rows(written, [SCORES])
        for name, source in sources.items():
            if isinstance(source, FileSource):
                files.check_unchanged(spark, name, source, inputs.by_source[name], bases[name])
        _check(config, request, report, rows, primary)
        manifest = _manifest(config, request, report, rows, primary, notes)
        _publish(staging, output, report, manifest)
    return manifest


def _sources(
    config: PipelineConfig, request: ScoreRequest
) -> tuple[dict[str, AnySource], dict[str, str], list[str]]:
    """Returns the sources with the input as the primary one, where each is, and notes."""
    base = str(Path(config.data_root).resolve())
    sources: dict[str, AnySource] = dict(config.sources)
    bases = dict.fromkeys(sources, base)
    if request.input is None:
        return sources, bases, []
    primary = next(iter(sources))
    before = sources[primary]
    found = find_data_files(request.input, "--input")
    columns = dict(before.columns)
    is_same = isinstance(before, FileSource) and before.format == found.format
    if not columns and not is_same:
        raise ComponentError(
            f"--input: source '{primary}' declares no `columns`, so the types of {request.input} "
            "are unknown; name them in the config"
        )
    present = _present(found.root, found.path, found.format, found.columns)
    absent = [] if present is None else [name for name in columns if name not in present]
    sources[primary] = FileSource(
        found.format,
        found.path,
        {name: kind for name, kind in columns.items() if name not in absent},
        options=before.options if is_same else found.options,
        may_be_null=tuple(columns),
    )
    bases[primary] = str(Path(found.root).resolve())
    notes = [f"{request.input} has no column {', '.join(map(repr, absent))}"] if absent else []
    return sources, bases, notes


def _present(root: str, path: str, kind: str, header: tuple[str, ...]) -> list[str] | None:
    """Returns the columns of csv or Parquet files; None for JSON, where each row has its own."""
    if kind == "csv":
        return list(header)
    if kind == "json":
        return None
    first = LocalFiles(root).matching(SpanPattern(path))[0]
    return list(pq.read_schema(Path(root, first)).names)


def _find(
    spark: SparkSession,
    config: PipelineConfig,
    sources: dict[str, AnySource],
    bases: Mapping[str, str],
    request: ScoreRequest,
) -> Inputs:
    """Returns the inputs of all sources; other sources than the input are read as in a run."""
    wanted = SpanRange(config.spans.window, config.spans.last)
    primary, *others = sources
    place = InputLocation(str(Path(config.data_root).resolve()), spark, checksums=False)
    if request.input is None:
        return find_inputs(sources, wanted, place)
    given = dataclasses.replace(place, base=bases[primary])
    first = find_inputs({primary: sources[primary]}, SpanRange(), given).by_source
    rest = find_inputs({name: sources[name] for name in others}, wanted, place).by_source
    return Inputs({**first, **rest})


def _read(
    spark: SparkSession,
    sources: Mapping[str, AnySource],
    inputs: Inputs,
    bases: Mapping[str, str],
) -> dict[str, SourceRows]:
    rows = {}
    for place, (name, source) in enumerate(sources.items()):
        log_progress(f"reading {name}")
        found = inputs.by_source[name]
        rows[name] = read_source(spark, name, source, found, bases[name], place == 0)
    return rows


def _empty_columns(rows: DataFrame, source: AnySource) -> list[str]:
    """Returns a note about columns that are null in every row: they may have another name."""
    unseen = list(source.columns)
    for some in (rows.limit(_FIRST_ROWS), rows):
        if unseen:
            counted = some.selectExpr(*[f"count({quoted(column)})" for column in unseen]).first()
            assert counted is not None
            unseen = [c for c, count in zip(unseen, counted, strict=True) if not count]
    if not unseen:
        return []
    return [f"no row has a value in {', '.join(map(repr, unseen))}"]


def _applied(
    spark: SparkSession,
    config: PipelineConfig,
    sources: dict[str, AnySource],
    inputs: Inputs,
    rows: Mapping[str, SourceRows],
) -> DataFrame:
    """Returns the result of the ETL on rows that need no label."""
    path = config.etl.function or config.loaded_application().build_examples
    module, _, name = path.rpartition(".")
    build = getattr(importlib.import_module(module), name)
    context = etl_context(config.etl.parameters, sources, inputs, labelled=False)
    result = with_reserved_columns(build(spark, {n: one.rows for n, one in rows.items()}, context))
    for one in rows.values():
        if one.rejected is not None:
            result = result.unionByName(one.rejected, allowMissingColumns=True)
    return result


def _scoring(
    config: PipelineConfig,
    request: ScoreRequest,
    result: DataFrame,
    staging: str,
    primary: str,
    outputs: Collection[str],
) -> tuple[Scoring, DataFrame]:
    """Returns what the workers need to know, and the columns that they get."""
    features = config.loaded_application().features
    inputs, lists = features.single_values, tuple(features.lists)
    keys = [name for name in features.keys if name in result.columns]
    absent = [name for name in (*inputs, *lists) if name not in result.columns]
    if absent:
        raise ComponentError(
            f"the ETL returns no column {', '.join(absent)}, which the model takes"
        )
    beside = inputs if request.with_features or not keys else ()
    carried = tuple(dict.fromkeys((*keys, *beside)))
    prediction = config.evaluator.prediction
    taken = {prediction.lower(), CLASS} | ({DECISION} & {*outputs})
    clash = [name for name in carried if name.lower() in taken]
    if clash:
        raise ComponentError(
            f"the key or feature '{clash[0]}' has the name of a column of the scores; rename it"
        )
    names = list(dict.fromkeys((*carried, *inputs, *lists, *RESERVED)))
    chosen = result.select(*[F.col(quoted(name)) for name in names])
    check_types({name: kind for name, kind in chosen.dtypes if name not in RESERVED})
    scoring = Scoring(
        staging=staging,
        model=request.model,
        columns=names,
        inputs=inputs,
        lists=lists,
        carried=carried,
        prediction=prediction,
        classes=features.classes if features.task == "multiclass" else (),
        primary=primary,
        format=request.format,
    )
    return scoring, chosen


def _check(
    config: PipelineConfig,
    request: ScoreRequest,
    report: publish.TaskReport,
    rows: Mapping[str, SourceRows],
    primary: str,
) -> None:
    """Checks the accounts of the rows, as SparkExampleGen does."""
    publish.check_sources(report, rows)
    counts = {name: one.read for name, one in rows.items()}
    if config.etl.row_accounting == "exact":
        publish.check_accounts(report, primary, counts[primary])
    limit = request.max_quarantine_fraction
    publish.check_quarantine(
        report, counts, config.etl.max_quarantine_fraction if limit is None else limit
    )
    if not report.split_rows()[SCORES]:
        raise ComponentError(
            f"none of the {counts[primary]:,} rows could be scored; see the reasons of the ETL: "
            f"{report.quarantined or report.dropped}"
        )


def _manifest(
    config: PipelineConfig,
    request: ScoreRequest,
    report: publish.TaskReport,
    rows: Mapping[str, SourceRows],
    primary: str,
    notes: list[str],
) -> dict[str, Any]:
    return {
        "pipeline": config.name,
        "model": request.model,
        "input": request.input,
        "rows": {
            "read": rows[primary].read,
            "scored": report.split_rows()[SCORES],
            "quarantined": report.quarantined_of(primary),
            "dropped": sum(report.dropped.values()),
        },
        "quarantined": report.quarantined,
        "dropped": report.dropped,
        "warnings": notes,
    }


def _publish(
    staging: Path, output: Path, report: publish.TaskReport, manifest: dict[str, Any]
) -> None:
    """Moves the reported files into the output folder, by one rename."""
    ready = staging / "ready"
    (ready / QUARANTINED_ROWS).mkdir(parents=True)
    for number, entry in enumerate(report.files[SCORES]):
        part = staging / SCORES / entry["file"]
        part.rename(ready / f"part-{number:05d}{part.suffix}")
    for file in report.quarantine_files:
        (staging / REJECTED / file).rename(ready / QUARANTINED_ROWS / file)
    write_json(ready / MANIFEST, manifest)
    fsync_tree(ready)
    if output.exists() and any(output.iterdir()):
        raise ComponentError(f"{output} was filled by another process meanwhile; choose another")
    move_durably(ready, output)


def _show_tasks(spark: SparkSession) -> None:
    """Logs how many tasks of the running stages are done."""
    tracker = spark.sparkContext.statusTracker()
    for stage in tracker.getActiveStageIds():
        info = tracker.getStageInfo(stage)
        if info is not None:
            log_progress(f"{info.numCompletedTasks} of {info.numTasks} tasks done")


def main(request_path: str) -> None:
    """Answers the request in a file."""
    fields = json.loads(Path(request_path).read_text("utf-8"))
    request = ScoreRequest(**{**fields, "overrides": tuple(fields["overrides"])})

    def said(error: Exception) -> str:
        return str(error) if isinstance(error, ConfigError) else explain(error)

    answer(request_path, lambda: {"manifest": score(request)}, said)


if __name__ == "__main__":
    main(sys.argv[1])
