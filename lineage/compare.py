"""Compares two runs or two pushed models: `compare(store, before, after)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from base.foreign_json import parse
from lineage.compare_files import FileChange, changed_files, files_problem
from lineage.dataset import Dataset
from lineage.text import number_in
from lineage.trace import dataset_of, find_pushed, trace
from metadata import names
from metadata.graph import makers
from metadata.pushed_models import destination_of, pushed_models, version_of
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution, Run
from pipeline.run_summary import metrics_of

_CODE = ("etl", "run_fn", "preprocessing_fn", "module_path", "module_file")
# Properties that the comparison of the data sets already covers.
_OF_DATA = (names.INPUT_FINGERPRINT, names.SPAN, "version", "time_cut", "decided_inputs")


@dataclasses.dataclass(frozen=True)
class ComparedSide:
    """One of the two runs or models that are compared.

    Attributes:
      kind: 'run' or 'model'.
      name: Id of the run, or version of the model.
      run_id: Id of the run, or of the run that pushed the model.
    """

    kind: Literal["run", "model"]
    name: str
    run_id: str


@dataclasses.dataclass(frozen=True)
class ValueChange:
    """A value that differs; None on a side without it.

    Attributes:
      name: Name, e.g. 'Trainer parameters.batch_size'.
      before, after: Any JSON value.
    """

    name: str
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The differences; everything that is equal on both sides is left out, except metrics.

    Attributes:
      before, after: The two sides.
      same: Whether both are the same model, or all their components have the same outputs.
      data: Spans, rows and fingerprint.
      files: Source files, by the manifests; None if a manifest cannot be read or never existed.
      code: Hashes and dotted paths, by component.
      parameters: Parameters of the components.
      metrics: All metrics of the evaluations, also the equal ones.
      not_recorded: Those of 'data', 'code' and 'parameters' that neither side records; no
        difference there does not mean equality.
      files_problem: Why `files` is None.
    """

    before: ComparedSide
    after: ComparedSide
    same: bool
    data: tuple[ValueChange, ...]
    files: tuple[FileChange, ...] | None
    code: tuple[ValueChange, ...]
    parameters: tuple[ValueChange, ...]
    metrics: tuple[ValueChange, ...]
    not_recorded: tuple[str, ...] = ()
    files_problem: str | None = None


@dataclasses.dataclass(frozen=True)
class _Facts:
    """The facts of one side that are compared."""

    side: ComparedSide
    components: dict[str, Execution]
    datasets: tuple[Dataset, ...]
    metrics: dict[str, float]

    @property
    def outputs(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {name: execution.outputs for name, execution in self.components.items()}

    @property
    def recorded(self) -> set[str]:
        """Returns which of 'data', 'code' and 'parameters' the store records."""
        facts = _data_facts(self.datasets).values()
        known = {"data"} if any(fact is not None for fact in facts) else set()
        for execution in self.components.values():
            changed = flattened(_known(execution.properties))
            known |= {"code" if _is_code(f" {name}") else "parameters" for name in changed}
        return known


def compare(
    store: MetadataReader,
    before: str | None = None,
    after: str | None = None,
    summaries: Path | None = None,
) -> Comparison:
    """Compares two runs or two models.

    Args:
      store: Store to read.
      before: Run id, 'latest', 'run:NAME', version, artifact id or destination of a pushed model,
        or 'model:VERSION'. None: the run or model before `after`.
      after: A name of the same kinds. None: the newest run or model; if that is `before`, it is
        compared with its predecessor.
      summaries: Folder of <run_id>/run_summary.json files, which hold the metrics.

    Raises:
      MetadataError: There is no such run or model, none before it, or one of each was named.
    """
    ends = _find(store, before, after)
    facts = [_facts(store, end, summaries) for end in ends]
    ours, theirs = facts
    changes = list(_changes(ours.components, theirs.components))
    recorded = ours.recorded | theirs.recorded
    problem = files_problem(ours.datasets, theirs.datasets)
    return Comparison(
        before=ours.side,
        after=theirs.side,
        same=ours.outputs == theirs.outputs and any(ours.outputs.values()),
        data=tuple(_different(_data_facts(ours.datasets), _data_facts(theirs.datasets))),
        files=None if problem else changed_files(ours.datasets, theirs.datasets),
        files_problem=problem,
        not_recorded=tuple(n for n in ("data", "code", "parameters") if n not in recorded),
        code=tuple(change for change in changes if _is_code(change.name)),
        parameters=tuple(change for change in changes if not _is_code(change.name)),
        metrics=tuple(
            ValueChange(name, ours.metrics.get(name), theirs.metrics.get(name))
            for name in dict.fromkeys([*ours.metrics, *theirs.metrics])
        ),
    )


def _find(
    store: MetadataReader, before: str | None, after: str | None
) -> tuple[Run | Artifact, Run | Artifact]:
    if before is not None:
        first = _end(store, before)
        last = _end(store, after) if after is not None else _newest(store, first)
        if after is None and _key(first) == _key(last):
            first = _one_before(store, last)
    else:
        last = _end(store, after) if after is not None else _newest_run(store)
        first = _one_before(store, last)
    if isinstance(first, Run) != isinstance(last, Run):
        raise MetadataError(
            "one of the two is a run, the other a model; give two runs or two versions: "
            "python -m lineage list"
        )
    return first, last


def _end(store: MetadataReader, wanted: str) -> Run | Artifact:
    """Finds a run or a pushed model by its name."""
    kind, _, name = wanted.partition(":")
    if kind == "run" and name:
        return store.run(name)
    if kind == "model" and name:
        return find_pushed(store, name)
    if wanted == "latest":
        return _newest_run(store)
    if wanted in store.run_ids():
        return store.run(wanted)
    try:
        return find_pushed(store, wanted)
    except MetadataError:
        raise MetadataError(
            f"'{wanted}' is neither a run nor a pushed model of {store.name}; "
            "see what there is: python -m lineage list"
        ) from None


def _key(end: Run | Artifact) -> str | int:
    return end.run_id if isinstance(end, Run) else end.id


def _newest(store: MetadataReader, like: Run | Artifact) -> Run | Artifact:
    return _newest_run(store) if isinstance(like, Run) else find_pushed(store, "latest")


def _newest_run(store: MetadataReader) -> Run:
    return next(filter(_is_pipeline, store.runs_until()), None) or store.run("latest")


def _one_before(store: MetadataReader, last: Run | Artifact) -> Run | Artifact:
    if isinstance(last, Run):
        earlier = run_before(store, last)
        if earlier is not None:
            return earlier
        raise MetadataError(
            f"there is no run before {last.run_id} to compare it with; run the pipeline again, "
            "or give two runs: python -m lineage diff BEFORE AFTER"
        )
    beside = Path(destination_of(last)).parent
    older = [
        a
        for a in pushed_models(store)
        if a.id < last.id
        and Path(destination_of(a)).parent == beside
        and version_of(a) != version_of(last)
    ]
    if not older:
        raise MetadataError(f"version {version_of(last)} is the first that was pushed")
    return older[0]


def run_before(store: MetadataReader, last: Run) -> Run | None:
    """Returns the run of the same pipeline before this one; None if it was the first."""
    for run in store.runs_until(last.run_id):
        if run.run_id != last.run_id and run.pipeline == last.pipeline and _is_pipeline(run):
            return run
    return None


def _is_pipeline(run: Run) -> bool:
    """Returns whether a run has outputs; a rollout is recorded as a run without any."""
    return any(execution.outputs for execution in run.components)


def _facts(store: MetadataReader, end: Run | Artifact, summaries: Path | None) -> _Facts:
    if isinstance(end, Run):
        made = store.artifacts(i for e in end.components for ids in e.outputs.values() for i in ids)
        evaluations = [a for a in made.values() if a.type == names.MODEL_EVALUATION]
        metrics, _ = metrics_of(summaries, end.components[:1], next(iter(evaluations), None))
        decisions = [a for a in made.values() if a.type == names.DECISION]
        metrics = metrics | _threshold(next(iter(decisions), None))
        components = {e.component: e for e in end.components if e.component}
        side = ComparedSide("run", end.run_id, end.run_id)
        return _Facts(side, components, _datasets(store, end, made), metrics)
    found = trace(store, end.id, summaries)
    pusher = found.maker(found.pushed)
    return _Facts(
        ComparedSide("model", found.version, pusher.run_id if pusher else ""),
        {e.component: e for e in found.executions if e.component},
        found.datasets,
        found.metrics | _threshold(found.decision),
    )


def _threshold(decision: Artifact | None) -> dict[str, float]:
    """Returns the threshold of a model as one more metric; empty without one."""
    found = number_in(decision.properties.get(names.THRESHOLD)) if decision else None
    return {} if found is None else {"decision_threshold": found}


def _datasets(store: MetadataReader, run: Run, made: Mapping[int, Artifact]) -> tuple[Dataset, ...]:
    """Returns the outputs of the run's ExampleGen, the component without inputs."""
    for execution in run.components:
        ids = [i for ids in execution.outputs.values() for i in ids]
        for artifact in (made[i] for i in ids if i in made):
            if artifact.type == names.EXAMPLES and not execution.inputs:
                made_by = store.executions(e.execution_id for e in makers(store, [artifact.id]))
                return (dataset_of(store, artifact, next(iter(made_by.values()), None)),)
    return ()


def _data_facts(datasets: Sequence[Dataset]) -> dict[str, Any]:
    """Returns the facts of the newest data set, and the ids and spans of the earlier ones."""
    if not datasets:
        return {}
    dataset, *earlier = datasets
    facts: dict[str, Any] = {
        "spans": dataset.spans or dataset.span,
        "input fingerprint": dataset.input_fingerprint,
    }
    if dataset.labels_as_of is not None:
        facts["labels as of"] = dataset.labels_as_of
    if earlier:
        facts["earlier data sets"] = ", ".join(
            f"{d.examples.id} (spans {d.spans or d.span})" for d in earlier
        )
    if dataset.accounts:
        accounts = dataset.accounts
        facts["rows read"] = accounts.read
        facts |= {f"rows {split}": rows for split, rows in accounts.splits.items()}
        facts |= {"rows quarantined": accounts.quarantined, "rows dropped": accounts.dropped}
    for source, reasons in dataset.quarantined_reasons.items():
        facts |= {f"quarantined {source} {reason}": rows for reason, rows in reasons.items()}
    return facts


def _changes(
    before: Mapping[str, Execution], after: Mapping[str, Execution]
) -> Iterable[ValueChange]:
    for component in dict.fromkeys([*before, *after]):
        ours, theirs = before.get(component), after.get(component)
        if ours is None or theirs is None:
            there = [None if side is None else side.type for side in (ours, theirs)]
            yield ValueChange(component, *there)
            continue
        flat = [flattened(_known(side.properties)) for side in (ours, theirs)]
        for change in _different(*flat):
            name = change.name.removeprefix("custom_config.")
            yield dataclasses.replace(change, name=f"{component} {name}")


def _known(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name not in _OF_DATA}


def flattened(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested values, also JSON in a text, to dotted names.

    A list of named objects is keyed by their names, as in `sources.orders.path`.
    """
    found: dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        value = _parsed(value)
        if isinstance(value, list) and value and all(_has_name(item) for item in value):
            value = {item["name"]: item for item in value}
        if isinstance(value, dict) and value:
            for key, item in value.items():
                put(f"{name}.{key}", item)
        else:
            found[name] = value

    for name, value in properties.items():
        put(name, value)
    return found


def _has_name(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parse(value, finite=False)
        except ValueError:
            return value
    return value


def _different(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[ValueChange]:
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield ValueChange(name, before.get(name), after.get(name))


def _is_code(name: str) -> bool:
    _, _, parameter = name.partition(" ")
    return parameter in _CODE or parameter.endswith("code_sha256")
