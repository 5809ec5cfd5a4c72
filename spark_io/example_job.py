"""The Spark job, run in a process of its own: `python -m spark_io.example_job REQUEST`.

The request is a JSON file: {"run": JobRequest}, or {"find": InputRequest} to find inputs only. The
answer (see spark_io/jobs) is {"manifest": {...}}, {"found": {...}} or {"error": "one line"}.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from base.errors import ComponentError
from spark_io.connectors import files
from spark_io.connectors.connector import InputLocation
from spark_io.examples.encoding import check_types
from spark_io.examples.rows import EtlContext, with_reserved_columns
from spark_io.examples.shards import REJECTED, REPORT_SCHEMA, shard_writer
from spark_io.examples.splits import HashSplits, TimeSplit
from spark_io.examples.time_cut import cuts_us
from spark_io.jobs.child import answer, log_progress
from spark_io.jobs.errors import explain, hide_secrets
from spark_io.jobs.session import size_shuffles, spark_session
from spark_io.publishing import publish
from spark_io.publishing.staging import staging_folder
from spark_io.sources.column_names import RESERVED
from spark_io.sources.inputs import Inputs, find_inputs
from spark_io.sources.reading import SourceRows, read_source
from spark_io.sources.source_types import AnySource, FileSource, sources_from_json
from spark_io.sources.spans import SpanRange


@dataclasses.dataclass(frozen=True)
class InputRequest:
    """The inputs of a job.

    Attributes:
      input_base: Folder or URI that paths are relative to.
      sources: Sources as JSON; the first is primary.
      length: Number of spans.
      last: Last span; None for the newest.
      decided: Source -> facts that the driver found, for sources that change all the time; empty
        without a driver.
      fingerprint: Fingerprint that the driver computed; None without a driver.
      spark: SparkConfig as a dict.
    """

    input_base: str
    sources: list[dict[str, Any]]
    length: int
    last: int | None
    decided: dict[str, dict[str, Any]]
    fingerprint: str | None
    spark: dict[str, Any]

    def span_range(self) -> SpanRange:
        return SpanRange(self.length, self.last)


@dataclasses.dataclass(frozen=True)
class JobRequest:
    """A job as plain JSON, which can be read and repeated by hand."""

    inputs: InputRequest
    etl: str
    etl_parameters: dict[str, Any]
    etl_code_sha256: str
    splits: dict[str, Any]  # HashSplits or TimeCut as a dict
    row_accounting: str  # 'exact' or 'off'
    max_quarantine_fraction: float
    examples_uri: str
    quarantine_uri: str


def find(request: InputRequest) -> Inputs:
    """Finds the inputs, checksums of tables included."""
    sources = sources_from_json(request.sources)
    with spark_session(request.spark) as spark:
        log_progress(f"finding the inputs of {', '.join(sources)}")
        place = InputLocation(request.input_base, spark, request.decided)
        return find_inputs(sources, request.span_range(), place)


def run(request: JobRequest) -> dict[str, Any]:
    """Runs the ETL and publishes its rows; returns the manifest."""
    log_progress(f"starting Spark on {request.inputs.spark['master']}")
    with (
        spark_session(request.inputs.spark) as spark,
        staging_folder(Path(request.examples_uri)) as staging,
    ):
        return run_in(spark, staging, request)


def run_in(spark: SparkSession, staging: Path, request: JobRequest) -> dict[str, Any]:
    """Does `run` on an existing session, in an existing staging folder."""
    sources = sources_from_json(request.inputs.sources)
    place = InputLocation(request.inputs.input_base, spark, request.inputs.decided, checksums=False)
    inputs = find_inputs(sources, request.inputs.span_range(), place)
    splits = _splits(request, inputs)
    rows, inputs = _read_sources(spark, sources, inputs, place.base)
    _check_unchanged(request.inputs.fingerprint, inputs)

    primary = next(iter(sources))
    counts = {name: source.read for name, source in rows.items()}
    examples = Path(request.examples_uri)
    description = _description(request, inputs, counts)
    done = publish.published_manifest(examples, description)
    if done is not None:
        log_progress("already published by a run that was killed before it could report")
        return done
    publish.check_not_published(examples)

    size_shuffles(spark, request.inputs.spark, max(counts.values()))
    result = _apply_etl(spark, request, inputs, rows)
    _check_columns(result, splits)
    log_progress("transforming and encoding")
    attempts = staging / publish.ATTEMPTS
    for name in (*splits.names, REJECTED):
        (attempts / name).mkdir(parents=True)
    writer = shard_writer(str(attempts), splits, primary, result.columns)
    # Numbered, because mapInArrow of Spark 3.5 takes a dot in a name for a field of a struct.
    numbered = result.toDF(*[f"c{number}" for number in range(len(result.columns))])
    written = numbered.mapInArrow(writer, REPORT_SCHEMA)
    report = publish.TaskReport.from_rows(written.collect(), splits.names)

    for name, source in sources.items():
        if isinstance(source, FileSource):
            files.check_unchanged(spark, name, source, inputs.by_source[name], place.base)
    publish.check_sources(report, sources)
    if request.row_accounting == "exact":
        publish.check_accounts(report, primary, counts[primary])
    publish.check_quarantine(report, counts, request.max_quarantine_fraction)
    publish.check_splits(report)
    manifest = {**description, **_outcome(counts[primary], primary, report)}
    publish.publish(staging, report, manifest, examples, Path(request.quarantine_uri))
    return manifest


def _splits(request: JobRequest, inputs: Inputs) -> HashSplits | TimeSplit:
    splits = request.splits
    if "at" in splits:
        cuts = cuts_us(splits["at"], inputs.primary)
        return TimeSplit(tuple(splits["splits"]), splits["column"], cuts, splits["unit"])
    return HashSplits(tuple(splits["names"]), tuple(splits["buckets"]), splits["feature"])


def _read_sources(
    spark: SparkSession, sources: dict[str, AnySource], inputs: Inputs, base: str
) -> tuple[dict[str, SourceRows], Inputs]:
    """Returns the rows, and the inputs with the checksums of these rows."""
    rows, found = {}, dict(inputs.by_source)
    for name, source in sources.items():
        count = len(found[name].facts.get("files", ()))
        log_progress(
            f"reading {name}" + (f": {count:,} file{'s' if count > 1 else ''}" if count else "")
        )
        primary = name == next(iter(sources))
        rows[name] = read_source(spark, name, source, found[name], base, primary)
        if rows[name].checksum:
            found[name] = found[name].with_facts(checksum=rows[name].checksum)
        log_progress(f"read {name}: {rows[name].read:,} rows")
    return rows, Inputs(found)


def _check_unchanged(fingerprint: str | None, inputs: Inputs) -> None:
    if fingerprint and fingerprint != inputs.fingerprint():
        raise ComponentError("the input changed while the run was starting; run again")


def _apply_etl(
    spark: SparkSession, request: JobRequest, inputs: Inputs, sources: dict[str, SourceRows]
) -> DataFrame:
    build = _import(request.etl)
    declared = sources_from_json(request.inputs.sources)
    context = etl_context(request.etl_parameters, declared, inputs)
    frames = {name: source.rows for name, source in sources.items()}
    rows = with_reserved_columns(build(spark, frames, context))
    for source in sources.values():
        if source.rejected is not None:
            rows = rows.unionByName(source.rejected, allowMissingColumns=True)
    return rows


def etl_context(
    parameters: dict[str, Any],
    declared: dict[str, AnySource],
    inputs: Inputs,
    labelled: bool = True,
) -> EtlContext:
    """Returns the facts that an ETL gets.

    Args:
      parameters: Parameters of the ETL.
      declared: Sources; the first one is primary.
      inputs: What was found of them.
      labelled: Whether the rows become examples to learn from; see EtlContext.
    """
    outcomes = {name: source.outcome for name, source in declared.items() if source.outcome}
    period = next(iter(declared.values())).period_ms
    begin = None if period is None else inputs.spans[0] * period
    known = {name: found.complete_ms for name, found in inputs.by_source.items()}
    complete = {name: time for name, time in known.items() if time is not None}
    return EtlContext(parameters, inputs.spans, begin, outcomes, complete, labelled)


def _import(dotted_path: str) -> Any:
    module, _, name = dotted_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        raise ComponentError(f"etl '{dotted_path}': module {module} has no '{name}'") from None


def _check_columns(rows: DataFrame, splits: HashSplits | TimeSplit) -> None:
    features = {name: kind for name, kind in rows.dtypes if name not in RESERVED}
    check_types(features)
    by = splits.column if isinstance(splits, TimeSplit) else splits.feature
    if by is not None and by not in features:
        what = "time column" if isinstance(splits, TimeSplit) else "partition feature"
        raise ComponentError(
            f"{what} '{by}' is not a column of the ETL's result; the columns are "
            f"{', '.join(sorted(features))}"
        )


def _description(request: JobRequest, inputs: Inputs, read: dict[str, int]) -> dict[str, Any]:
    """Returns the part of the manifest that is known before the ETL runs."""
    sources = []
    for entry in request.inputs.sources:
        name = entry["name"]
        kept = {
            key: value for key, value in entry.items() if value not in ("", {}, [], (), 0, None)
        }
        sources.append({**kept, **inputs.by_source[name].facts, "rows_read": read[name]})
    return {
        "format_version": publish.FORMAT_VERSION,
        "span": inputs.span,
        "version": inputs.version,
        "spans": list(inputs.spans),
        "input_base": request.inputs.input_base,
        "input_fingerprint": inputs.fingerprint(),
        "etl": {
            "path": request.etl,
            "code_sha256": request.etl_code_sha256,
            "parameters": request.etl_parameters,
        },
        "sources": sources,
        "labels_as_of_ms": _labels_as_of(request, inputs),
        "split_by": request.splits,
    }


def _labels_as_of(request: JobRequest, inputs: Inputs) -> int | None:
    """Returns the time up to which all sources of outcomes are there; None without such a source.

    It is at most the end of the time that the last span's outcomes have.
    """
    declared = sources_from_json(request.inputs.sources)
    known = [inputs.by_source[name].complete_ms for name, one in declared.items() if one.outcome]
    return min((time for time in known if time is not None), default=None)


def _outcome(read: int, primary: str, report: publish.TaskReport) -> dict[str, Any]:
    """Returns the part of the manifest that counts rows by outcome."""
    return {
        "rows": {
            "read": read,
            "splits": report.split_rows(),
            "quarantined": report.quarantined_of(primary),
            "dropped": sum(report.dropped.values()),
        },
        "quarantined": report.quarantined,
        "dropped": report.dropped,
    }


def main(request_path: str) -> None:
    """Answers the request in a file; see the module's docstring."""
    (action, fields), *_ = json.loads(Path(request_path).read_text("utf-8")).items()
    inputs = InputRequest(**(fields if action == "find" else fields.pop("inputs")))
    hide_secrets(sources_from_json(inputs.sources))

    def answered() -> dict[str, Any]:
        if action == "find":
            found = find(inputs).by_source
            return {"found": {name: dataclasses.asdict(f) for name, f in found.items()}}
        return {"manifest": run(JobRequest(inputs=inputs, **fields))}

    answer(request_path, answered, explain)


if __name__ == "__main__":
    main(sys.argv[1])
