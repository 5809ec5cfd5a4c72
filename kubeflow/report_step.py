"""Writes the run's report as an HTML artifact; the last step of the compiled pipeline.

    python -m kubeflow.report_step --pipeline NAME --graph JSON --executor_input JSON

The accounts of the other steps are written to a small ML Metadata store, from which
`lineage.report` makes the page as on a laptop. If that fails, the page says why and the step still
succeeds: the model is pushed by then.
"""

from __future__ import annotations

import argparse
import graphlib
import html
import json
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from base.errors import ComponentError
from base.failures import one_line
from base.shared_names import RUN_SUMMARY
from kubeflow.record import Output, Record
from kubeflow.report_task import ACCOUNT_OF, PAGE, RUN_ID
from kubeflow.step import SAYS, local_path
from kubeflow.step_account import Json, StepAccount
from lineage.report.write import write_report

_FROM = "the accounts of a compiled pipeline's steps"  # the store's name in the page

Graph = Mapping[str, Mapping[str, Output]]  # step -> input -> output that it comes from


def main(arguments: Sequence[str]) -> int:
    """Writes the page where Kubeflow expects it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kubeflow.report_step", description=__doc__)
    parser.add_argument("--pipeline", required=True, help="name of the pipeline")
    parser.add_argument("--graph", required=True, help="step -> input -> [step, output], as JSON")
    parser.add_argument("--executor_input", required=True, help="Kubeflow's ExecutorInput, as JSON")
    options = parser.parse_args(arguments)
    given = json.loads(options.executor_input)
    (artifact,) = given["outputs"]["artifacts"][PAGE]["artifacts"]
    page = Path(local_path(artifact["uri"]))
    try:
        graph = json.loads(options.graph)
        graph = {s: {k: (a, b) for k, (a, b) in of.items()} for s, of in graph.items()}
        run_id = str(given["inputs"]["parameterValues"][RUN_ID])
        write_page(options.pipeline, run_id, graph, dict(accounts(given)), places(given), page)
    except Exception as error:
        traceback.print_exc()
        reason = one_line(error)
        print(f"{SAYS}no report: {reason}", file=sys.stderr)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!doctype html><p>No report: {html.escape(reason)}</p>\n", "utf-8")
    return 0


def accounts(given: Json) -> Iterator[tuple[str, StepAccount]]:
    """Yields each step with its account; an unreadable account is reported and left out."""
    for name, text in given["inputs"]["parameterValues"].items():
        if name.startswith(ACCOUNT_OF):
            step = name.removeprefix(ACCOUNT_OF)
            try:
                yield step, StepAccount.from_text(str(text))
            except ValueError as error:
                print(f"{SAYS}{step} is not in the report: {error}", file=sys.stderr)


def places(given: Json) -> dict[str, str]:
    """Returns URI -> path in this container, for the artifacts that Kubeflow downloaded."""
    return {
        one["uri"]: local_path(one["uri"])
        for entry in given["inputs"].get("artifacts", {}).values()
        for one in entry["artifacts"]
    }


def write_page(
    pipeline: str,
    run_id: str,
    graph: Graph,
    by_step: Mapping[str, StepAccount],
    found: Mapping[str, str],
    path: Path,
) -> None:
    """Writes the report of a run.

    Args:
      pipeline: Name of the pipeline.
      run_id: Id of the run.
      graph: Graph of the pipeline.
      by_step: Step -> its account.
      found: URI -> path, for the artifacts in this container.
      path: Path of the page.

    Raises:
      ComponentError: There is no account.
      OSError: The file cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        record = Record(folder / "metadata.sqlite", pipeline, run_id)
        write_steps(record, graph, by_step)
        summary = folder / run_id / RUN_SUMMARY
        summary.parent.mkdir()
        peaks = [{"id": step, "peak_mib": one.peak_mib} for step, one in by_step.items()]
        summary.write_text(json.dumps({"components": peaks}), "utf-8")
        record.reader.name = _FROM
        write_report(record.reader, run_id, folder, path, found)


def in_order(graph: Graph, by_step: Mapping[str, StepAccount]) -> list[str]:
    """Sorts the steps in the order of the data.

    Raises:
      ComponentError: There is no step.
    """
    if not by_step:
        raise ComponentError("no step has an account; compile the pipeline again and run it")
    after = {
        step: {other for other, _ in graph.get(step, {}).values()} & {*by_step} for step in by_step
    }
    return [*graphlib.TopologicalSorter(after).static_order()]


def write_steps(record: Record, graph: Graph, by_step: Mapping[str, StepAccount]) -> None:
    """Records what the steps did, with the times from their accounts.

    Raises:
      ComponentError: There is no account.
    """
    steps = in_order(graph, by_step)
    by_time = sorted(steps, key=lambda step: by_step[step].began)
    numbers = {
        step: record.begin(step, by_step[step].parameters, by_step[step].began) for step in by_time
    }
    for step in steps:
        one = by_step[step]
        record.end(numbers[step], "complete", graph.get(step, {}), one.outputs, one.ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
