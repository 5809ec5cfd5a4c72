"""Exports a run as OpenLineage events for a catalog such as Marquez.

A pipeline run is an OpenLineage run, and each component is a run below it. Each has a START event
and a COMPLETE, FAIL or ABORT event. Artifacts, and the sources that SparkExampleGen read, are
datasets named by their location. Ids are derived from the pipeline and the execution, so a run that
is sent twice is one run.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from openlineage.client.event_v2 import (
    InputDataset,
    Job,
    OutputDataset,
    Run,
    RunEvent,
    RunState,
)
from openlineage.client.facet_v2 import (
    data_quality_metrics_dataset,
    dataset_version_dataset,
    error_message_run,
    execution_parameters_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    set_producer,
)
from openlineage.client.serde import Serde
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpConfig,
    HttpTransport,
    TokenProvider,
)

from lineage.dataset import Dataset, Source
from lineage.report.facts import RunFacts, gather
from lineage.report.statistics import Feature
from lineage.whole_file import write_whole
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution

# The release is that of the machine that sends the events.
PRODUCER = f"https://github.com/tensorflow/tfx/tree/v{version('tfx')}"
_D = TypeVar("_D", InputDataset, OutputDataset)
_IDS = uuid.UUID("6f0d3c1e-6f54-5c3b-9a43-0f6d0a8a1a57")
_ENDS = {
    "complete": RunState.COMPLETE,
    "cached": RunState.COMPLETE,
    "failed": RunState.FAIL,
    "canceled": RunState.ABORT,
}
# Schemes of Spark's connectors -> the common scheme of the same place.
_SCHEMES = {"s3a": "s3", "s3n": "s3"}
_OBJECT_STORES = ("s3", "gs", "minio", "oci")  # whose keys begin without a slash
_NO_NAME = "not-recorded"  # of a pipeline, in a store that does not say
_EXECUTION = re.compile(r"/\d+$")
_LONGEST, _LONGEST_REASON = 2_000, 200  # characters: of a parameter, of an error


def run_events(
    store: MetadataReader, run_id: str, summaries: Path | None, namespace: str
) -> list[RunEvent]:
    """Returns the events of a run in the order of their times.

    Args:
      store: Store to read.
      run_id: Id of the run, or 'latest'.
      summaries: Folder of <run_id>/run_summary.json files, which say why a run failed.
      namespace: Namespace of the jobs; a catalog groups the jobs of a team or cluster by it.

    Raises:
      MetadataError: There is no such run.
    """
    set_producer(PRODUCER)
    return sorted(_Events(gather(store, run_id, summaries), namespace), key=lambda e: e.eventTime)


class _Events:
    def __init__(self, facts: RunFacts, namespace: str) -> None:
        self._facts, self._namespace = facts, namespace
        self._own = _id(facts.run.pipeline, facts.run.run_id)

    def __iter__(self) -> Iterator[RunEvent]:
        run = self._facts.run
        job = self._job(run.pipeline or _NO_NAME, "PIPELINE")
        end = _ENDS.get(run.state)
        yield self._event(RunState.START, run.started, self._run(self._own), job)
        for execution in run.components:
            yield from self._of(execution)
        if end is not None:
            finished = run.started + dt.timedelta(seconds=run.seconds)
            yield self._event(end, finished, self._run(self._own, self._problem(end)), job)

    def _problem(self, end: RunState | None) -> str | None:
        found: str | None = self._facts.summary.get("error") if end == RunState.FAIL else None
        return found

    def _of(self, execution: Execution) -> Iterator[RunEvent]:
        pipeline = self._facts.run.pipeline or _NO_NAME
        job = self._job(f"{pipeline}.{execution.title.strip('()')}", "COMPONENT")
        own = _id(self._facts.run.pipeline, self._facts.run.run_id, str(execution.id))
        end = _ENDS.get(execution.state)
        if end is None and self._facts.run.state in ("failed", "canceled"):
            end = RunState.ABORT  # its process was killed
        run = self._run(own, self._problem(end))
        run.facets = {
            **(run.facets or {}),
            "parent": parent_run.ParentRunFacet(
                run=parent_run.Run(runId=self._own),
                job=parent_run.Job(namespace=self._namespace, name=pipeline),
            ),
            "executionParameters": _parameters(execution),
        }
        inputs = _once(self._input(artifact) for artifact in self._artifacts(execution.inputs))
        inputs += self._sources(execution)
        outputs = _once(self._output(artifact) for artifact in self._artifacts(execution.outputs))
        yield self._event(RunState.START, execution.started, run, job, inputs)
        if end is not None:
            finished = execution.started + dt.timedelta(seconds=execution.seconds)
            yield self._event(end, finished, run, job, inputs, outputs)

    def _event(
        self,
        state: RunState,
        timestamp: dt.datetime,
        run: Run,
        job: Job,
        inputs: Iterable[InputDataset] = (),
        outputs: Iterable[OutputDataset] = (),
    ) -> RunEvent:
        return RunEvent(
            eventTime=timestamp.isoformat(),
            producer=PRODUCER,
            run=run,
            job=job,
            eventType=state,
            inputs=list(inputs),
            outputs=list(outputs),
        )

    def _run(self, own: str, problem: str | None = None) -> Run:
        facets: dict[str, Any] = {}
        if problem:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=problem, programmingLanguage="PYTHON"
            )
        return Run(runId=own, facets=facets)

    def _job(self, name: str, kind: str) -> Job:
        facet = job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="TFX", jobType=kind
        )
        return Job(namespace=self._namespace, name=name, facets={"jobType": facet})

    def _artifacts(self, by_key: dict[str, tuple[int, ...]]) -> list[Artifact]:
        known = self._facts.artifacts
        return [known[i] for ids in by_key.values() for i in ids if i in known]

    def _name(self, artifact: Artifact) -> tuple[str, str]:
        """Returns namespace and name by location, or by id for an artifact without one."""
        if artifact.uri:
            return output_name(artifact.uri)
        return self._namespace, f"{self._facts.run.pipeline}/artifact/{artifact.id}"

    def _input(self, artifact: Artifact) -> InputDataset:
        namespace, name = self._name(artifact)
        return InputDataset(namespace=namespace, name=name, facets=self._facets(artifact))

    def _output(self, artifact: Artifact) -> OutputDataset:
        namespace, name = self._name(artifact)
        facets: dict[str, Any] = {}
        dataset = self._facts.dataset
        if dataset and dataset.examples.id == artifact.id and dataset.accounts:
            facets["outputStatistics"] = (
                output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                    rowCount=sum(dataset.accounts.splits.values())
                )
            )
        return OutputDataset(
            namespace=namespace, name=name, facets=self._facets(artifact), outputFacets=facets
        )

    def _facets(self, artifact: Artifact) -> dict[str, Any]:
        facets: dict[str, Any] = {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(
                datasetVersion=str(artifact.id)
            )
        }
        dataset = self._facts.dataset
        features = self._facts.features.get("train", {})
        if dataset and dataset.examples.id == artifact.id and features:
            facets["schema"] = _schema(features.values())
            facets["dataQualityMetrics"] = _quality(features.values())
        return facets

    def _sources(self, execution: Execution) -> list[InputDataset]:
        """Returns the sources that this execution read; a cached execution read none."""
        dataset: Dataset | None = self._facts.dataset
        made = dataset and dataset.examples.id in self._outputs(execution)
        if dataset is None or not made:
            return []
        return [_source(dataset.input_base or "", source) for source in dataset.sources]

    def _outputs(self, execution: Execution) -> set[int]:
        return {i for ids in execution.outputs.values() for i in ids}


def dataset_name(uri: str) -> tuple[str, str]:
    """Returns OpenLineage's namespace and name, e.g. ('s3://bucket', 'a/b') or ('file', '/a/b')."""
    parts = urlsplit(uri.rstrip("/"))
    scheme = _SCHEMES.get(parts.scheme, parts.scheme)
    if not scheme or scheme == "file":
        return "file", parts.path or uri
    path = parts.path.lstrip("/") if scheme in _OBJECT_STORES else parts.path
    return f"{scheme}://{parts.netloc}", path or "/"


def output_name(uri: str) -> tuple[str, str]:
    """Returns namespace and name of an artifact.

    TFX ends an output's folder with the id of its execution. Without that id the outputs of all
    runs are one data set, whose version is the artifact's id.
    """
    return dataset_name(_EXECUTION.sub("", uri.rstrip("/")))


def _once(datasets: Iterable[_D]) -> list[_D]:
    """Keeps the newest version of each name: a run can have a data set as input only once."""
    found: dict[tuple[str, str], _D] = {}
    for one in datasets:
        known = found.get((one.namespace, one.name))
        if known is None or _version(known) <= _version(one):
            found[one.namespace, one.name] = one
    return list(found.values())


def _version(dataset: InputDataset | OutputDataset) -> int:
    facet: Any = (dataset.facets or {}).get("version")
    return int(facet.datasetVersion) if facet else 0


def _source(base: str, source: Source) -> InputDataset:
    is_file = source.kind == "file"
    where = f"{base.rstrip('/')}/{source.pattern}" if is_file else ""
    namespace, name = dataset_name(where) if is_file else (source.format, source.pattern)
    statistics = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        rowCount=source.rows_read,
        size=source.bytes if source.files else None,
        fileCount=len(source.files) or None,
    )
    return InputDataset(
        namespace=namespace, name=name or source.name, inputFacets={"inputStatistics": statistics}
    )


def _schema(features: Iterable[Feature]) -> schema_dataset.SchemaDatasetFacet:
    return schema_dataset.SchemaDatasetFacet(
        fields=[
            schema_dataset.SchemaDatasetFacetFields(name=feature.name, type=feature.kind)
            for feature in features
        ]
    )


def _quality(
    features: Iterable[Feature],
) -> data_quality_metrics_dataset.DataQualityMetricsDatasetFacet:
    """Returns the quality facet of the train split."""
    known = list(features)
    return data_quality_metrics_dataset.DataQualityMetricsDatasetFacet(
        rowCount=int(max((feature.examples for feature in known), default=0)),
        columnMetrics={
            feature.name: data_quality_metrics_dataset.ColumnMetrics(
                nullCount=int(feature.missing),
                distinctCount=feature.unique,
                min=_finite(feature.low),
                max=_finite(feature.high),
            )
            for feature in known
        },
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _parameters(execution: Execution) -> execution_parameters_run.ExecutionParametersRunFacet:
    return execution_parameters_run.ExecutionParametersRunFacet(
        parameters=[
            execution_parameters_run.ExecutionParameter(key=name, name=name, value=_text(value))
            for name, value in execution.properties.items()
        ]
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _id(*names: str) -> str:
    return str(uuid.uuid5(_IDS, "/".join(names)))


def write(events: Sequence[RunEvent], path: Path) -> None:
    """Writes one event per line; the file is written completely or not at all.

    Raises:
      MetadataError: The file cannot be written.
    """
    text = "".join(f"{Serde.to_json(event)}\n" for event in events)
    try:
        write_whole(path, text)
    except OSError as error:
        raise MetadataError(
            f"cannot write {path}: {error.strerror or error}; choose another with --out"
        ) from error


def _reason(error: Exception) -> str:
    """Returns the cause without the object names that requests adds."""
    if isinstance(error, requests.ConnectionError):
        inner: Any = error.args[0] if error.args else error
        inner = getattr(inner, "reason", inner)
        return (
            str(getattr(inner, "__cause__", None) or inner).rpartition("] ")[2].rpartition(": ")[2]
        )
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


def send(events: Sequence[RunEvent], url: str, api_key: str | None) -> None:
    """Posts the events in order.

    Raises:
      MetadataError: The address is invalid, or the endpoint rejects an event.
    """
    if "@" in url:
        raise MetadataError("--url: no user or password in the address; see --api-key-env")
    auth = ApiKeyTokenProvider({"api_key": api_key}) if api_key else TokenProvider({})
    sent = 0
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries: the error says enough
    try:
        with contextlib.closing(HttpTransport(HttpConfig(url=url, auth=auth))) as transport:
            for event in events:
                transport.emit(event)
                sent += 1
    except (requests.RequestException, ValueError) as error:
        reason = _reason(error)
        raise MetadataError(
            f"{url} took {sent} of {len(events)} events, then: {reason}; check the address, the "
            "key and that it is up, and send the run again: no event is counted twice"
        ) from error
