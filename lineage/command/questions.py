"""Answers questions: `python -m lineage list | show | trace | impact | diff | served | gc`."""

from __future__ import annotations

import functools
from typing import Any

import click
from rich.console import RenderableType

from base.shared_names import RUN_LOG
from components.pusher.release import CANARY, STABLE
from lineage.as_json import to_json
from lineage.command import render
from lineage.command.complete import MODELS, RUNS, RUNS_AND_MODELS
from lineage.command.connect import OpenedStore
from lineage.command.group import cli, console, show_on_screen, show_table, with_store
from lineage.command.render_compare import comparison_tree
from lineage.command.render_served import served_table, served_tree
from lineage.command.render_trace import trace_tree
from lineage.command.render_unused import unused_tables
from lineage.compare import compare
from lineage.delete import delete_unused
from lineage.impact import impact_of
from lineage.listing import run_lines
from lineage.served import count_names, find_served, served
from lineage.trace import find_pushed, trace
from lineage.unused import KEEP_RUNS, UnusedArtifacts, unused
from metadata.graph import edges_of_artifacts, makers
from metadata.pushed_models import pushed_models, version_of
from metadata.reader import MetadataError, MetadataReader
from metadata.records import Artifact, Execution, Run
from pipeline.run_summary import error_of


@cli.command("list")
@with_store
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Number of runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_runs(opened: OpenedStore, /, limit: int, as_json: bool) -> None:
    """Lists runs, newest first: state, components, span and pushed version.

    \b
    python -m lineage list --limit 5
    python -m lineage list --json | jq '.[] | select(.state == "failed") | .run_id'
    """
    lines = run_lines(opened.store, limit)
    if as_json:
        click.echo(to_json(lines))
        return
    if not lines:
        opened.store.run("latest")  # says what is recorded instead
    spare = ("pipeline", "components", "seconds", "started")
    show_table(functools.partial(render.run_table, lines), spare=spare)


@cli.command()
@with_store
@click.argument("identifier", metavar="[ID|latest]", default="latest", shell_complete=RUNS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(opened: OpenedStore, /, identifier: str, as_json: bool) -> None:
    """Shows a run, an execution or an artifact.

    ID is run:NAME, execution:NUMBER, artifact:NUMBER or model:VERSION; 'latest' is the last run. A
    plain number is an artifact if there is one with that id, else an execution or a run.

    \b
    python -m lineage show latest
    python -m lineage show artifact:12
    python -m lineage show execution:7 --json
    """
    found, note = find(opened.store, identifier)
    if note:
        click.echo(note, err=True)
    if as_json:
        click.echo(to_json({"kind": type(found).__name__.lower(), **_fields(found)}))
        return
    show_on_screen(_shown(opened, found))


@cli.command("trace")
@with_store
@click.argument(
    "pushed_model", metavar="[PUSHED_MODEL|latest]", default="latest", shell_complete=MODELS
)
@click.option("--files", is_flag=True, help="List every source file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, always with every file.")
def trace_model(opened: OpenedStore, /, pushed_model: str, files: bool, as_json: bool) -> None:
    """Traces a served model down to the source files it was made from.

    PUSHED_MODEL is a version, the folder it was pushed to, the run that pushed it, artifact:NUMBER,
    or a label: stable or canary. 'latest' is the newest one.

    \b
    python -m lineage trace latest
    python -m lineage trace stable
    python -m lineage trace 1795565929 --files
    python -m lineage trace latest --json | jq '.datasets[].accounts'
    """
    found = trace(opened.store, resolve_label(opened.store, pushed_model), opened.summaries)
    if as_json:
        click.echo(to_json(found))
        return
    screen = console()
    serving = find_served(opened.store, f"artifact:{found.pushed.id}")
    ticks = not screen.options.ascii_only
    screen.print(trace_tree(found, serving, all_files=files, ticks=ticks), soft_wrap=False)


@cli.command("impact")
@with_store
@click.argument("examples", metavar="[EXAMPLES|FILE|latest]", default="latest")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_impact(opened: OpenedStore, /, examples: str, as_json: bool) -> None:
    """Shows what was trained from examples: models, evaluations, pushed versions, runs.

    EXAMPLES is the id of Examples or of any other artifact. FILE is a source file or folder, by its
    path or the end of it; the command follows all examples that were made from it.

    \b
    python -m lineage impact latest
    python -m lineage impact events/2024-03-01/05/part-00000.json.gz
    python -m lineage impact 3 --json | jq '.pushes[].version'
    """
    found = impact_of(opened.store, examples)
    _note_if_also_a_version(opened.store, examples, found.artifact)
    if as_json:
        click.echo(to_json(found))
        return
    show_on_screen(render.impact_tree(found))


@cli.command("diff")
@with_store
@click.argument("before", metavar="[BEFORE]", required=False, shell_complete=RUNS_AND_MODELS)
@click.argument("after", metavar="[AFTER]", required=False, shell_complete=RUNS_AND_MODELS)
@click.option("--files", is_flag=True, help="List every source file that differs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, always with every file.")
def diff(
    opened: OpenedStore, /, before: str | None, after: str | None, files: bool, as_json: bool
) -> None:
    """Shows what differs between two runs or two models: data, code, parameters, metrics.

    Each is a run's id or a pushed version; write run:NAME or model:VERSION if a name could be
    either. AFTER defaults to the newest of its kind; if BEFORE is the newest, it is compared with
    its predecessor. Without both, the last two runs are compared.

    \b
    python -m lineage diff
    python -m lineage diff 11 22
    python -m lineage diff run:20261127-180047 latest --json | jq .metrics
    """
    found = compare(opened.store, before, after, opened.summaries)
    if as_json:
        click.echo(to_json(found))
        return
    show_on_screen(comparison_tree(found, all_files=files))


@cli.command("served")
@with_store
@click.argument("version", metavar="[VERSION|latest]", required=False, shell_complete=MODELS)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Number of versions."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every version.")
def when_served(opened: OpenedStore, /, version: str | None, limit: int, as_json: bool) -> None:
    """Shows when each pushed version served, for which label, and how many events.

    VERSION shows one version hour by hour; it may also be the folder it was pushed to, the run that
    pushed it, artifact:NUMBER, stable or canary.

    \b
    python -m lineage served
    python -m lineage served latest
    python -m lineage served --json | jq '.[] | {version, hours: (.hours | length)}'
    """
    if version is None:
        found = served(opened.store)
        if as_json:
            click.echo(to_json(found))
            return
        if not found:
            newest = find_pushed(opened.store, "latest")  # says why there is none
            raise MetadataError(
                f"no version is recorded in {opened.store.name}; see its newest PushedModel with: "
                f"python -m lineage trace artifact:{newest.id}"
            )
        outcomes = count_names(found[:limit])[1:]
        spare = ("withdrawn", "since", *outcomes, "hours", "folder", "pushed")
        show_table(functools.partial(served_table, found[:limit]), spare=spare)
        if len(found) > limit:
            click.echo(f"{len(found) - limit:,} older versions; --limit shows more", err=True)
        return
    one = find_served(opened.store, resolve_label(opened.store, version))
    if as_json:
        click.echo(to_json(one))
        return
    show_on_screen(served_tree(one))


@cli.command("gc")
@with_store
@click.option(
    "--keep-runs",
    type=click.IntRange(min=1),
    default=KEEP_RUNS,
    show_default=True,
    help="Number of newest runs of a pipeline whose artifacts are kept.",
)
@click.option(
    "--delete", is_flag=True, help="Delete the unused artifacts; without it, nothing is deleted."
)
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option(
    "--ended",
    multiple=True,
    metavar="RUN",
    shell_complete=RUNS,
    help="Run that looks as if it were running, but whose process was killed.",
)
@click.option("--all", "everything", is_flag=True, help="List every artifact, also the kept ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every artifact.")
def gc(
    opened: OpenedStore,
    /,
    keep_runs: int,
    delete: bool,
    yes: bool,
    ended: tuple[str, ...],
    everything: bool,
    as_json: bool,
) -> None:
    """Lists artifacts that nothing needs any more, with their sizes; --delete deletes them.

    These are kept: artifacts of the newest complete runs and of all later runs; examples whose span
    is in the window; every pushed version whose folder still exists, with its model, schema and
    evaluation; blessed models that a later run may start from. ML Metadata and the manifests of
    deleted examples stay, so `trace` and `impact` answer as before.

    \b
    python -m lineage gc                          how much could go, and why the rest cannot
    python -m lineage gc --keep-runs 1 --all
    python -m lineage gc --delete
    """
    if not delete and (yes or ended):
        raise MetadataError("--yes and --ended go with --delete, and without it nothing is deleted")
    ended = tuple(opened.store.run(run).run_id for run in ended)
    found = unused(opened.store, keep_runs)
    if not as_json:
        show_on_screen(unused_tables(found, everything=everything))
    if delete and found.unused:
        if not yes:
            click.confirm(f"Delete {len(found.unused)} artifacts?", abort=True, err=True)
        say = None if as_json else lambda one: click.echo(f"deleted {one.path}")
        found = delete_unused(opened.connection, keep_runs, say, ended)
    if as_json:
        click.echo(to_json({"deleted": delete, **_fields(found)}))


def find(store: MetadataReader, identifier: str) -> tuple[Run | Execution | Artifact, str | None]:
    """Returns what an ID of `show` names, and a note if it could name something else.

    Raises:
      MetadataError: Nothing has this id.
    """
    kind, _, rest = identifier.partition(":")
    if kind == "run" and rest:
        return store.run(rest), None
    if kind == "model" and rest:
        return find_pushed(store, identifier), None
    if kind in ("artifact", "execution") and rest:
        if not rest.isdecimal():
            raise MetadataError(f"'{rest}' is not a number; write for instance {kind}:12")
        number = int(rest)
        return (store.artifact(number) if kind == "artifact" else store.execution(number)), None
    if not identifier.isdecimal():
        return store.run(identifier), None
    number = int(identifier)
    artifact = store.artifacts([number]).get(number)
    if artifact is None:
        is_run = not store.states([number]) and identifier in store.run_ids()
        return store.run(identifier) if is_run else store.execution(number), None
    also = f"there is an execution {number}, too: python -m lineage show execution:{number}"
    return artifact, also if store.states([number]) else None


def resolve_label(store: MetadataReader, pushed: str) -> str:
    """Returns the artifact that answers for a label; any other name is returned unchanged.

    Raises:
      MetadataError: No version answers for this label.
    """
    if pushed not in (STABLE, CANARY):
        return pushed
    models = served(store)
    for one in models:
        if pushed in one.labels:
            return f"artifact:{one.pushed.id}"
    if models and not any(one.labels_recorded for one in models):
        raise MetadataError(
            f"what is {pushed} is not recorded in {store.name}: its Pushers keep no labels; give a "
            "version instead: python -m lineage served"
        )
    raise MetadataError(f"nothing is {pushed} now; see: python -m lineage served")


def _note_if_also_a_version(store: MetadataReader, wanted: str, found: Artifact) -> None:
    """Notes that a number was taken for an artifact if it is also a version."""
    if wanted.isdecimal():
        for model in pushed_models(store):
            if version_of(model) == wanted and model.id != found.id:
                click.echo(
                    f"artifact {wanted}; the model of version {wanted} is artifact:{model.id}",
                    err=True,
                )
                return


def _fields(found: Run | Execution | Artifact | UnusedArtifacts) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in found.__dataclass_fields__}
    if isinstance(found, Run):
        fields |= {"state": found.state, "seconds": found.seconds}
    return fields


def _shown(opened: OpenedStore, found: Run | Execution | Artifact) -> RenderableType:
    store = opened.store
    if isinstance(found, Run):
        folder = opened.summaries / found.run_id if opened.summaries else None
        log = folder / RUN_LOG if folder and (folder / RUN_LOG).is_file() else None
        return render.run_tree(found, error_of(folder) if folder else None, log)
    if isinstance(found, Execution):
        sides = (found.inputs, found.outputs, found.resolved)
        ids = [i for side in sides for ids in side.values() for i in ids]
        return render.execution_tree(found, store.artifacts(ids))
    made = {edge.execution_id for edge in makers(store, [found.id])}
    read = {e.execution_id for e in edges_of_artifacts(store, [found.id]) if e.kind == "input"}
    executions = store.executions(made | read)
    maker = next((executions[i] for i in made if i in executions), None)
    return render.artifact_tree(
        found, maker, [executions[i] for i in sorted(read & set(executions))]
    )
