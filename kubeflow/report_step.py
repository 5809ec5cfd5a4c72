"""The last step of the compiled pipeline: the run's report, as an HTML artifact.

    python -m kubeflow.report_step --pipeline NAME --graph JSON --executor_input JSON

The accounts of the other steps become a small store of ML Metadata, so that the page is made as on
a laptop, by `lineage.report`. A page that cannot be made says why: the model is pushed by then, and
no run is worse for its report.
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

_FROM = "the accounts of a compiled pipeline's steps"  # where the page says that it is from

Graph = Mapping[str, Mapping[str, Output]]  # step -> input -> what gives it


def main(arguments: Sequence[str]) -> int:
    """Writes the page where Kubeflow wants it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kubeflow.report_step", description=__doc__)
    parser.add_argument("--pipeline", required=True, help="its name")
    parser.add_argument("--graph", required=True, help="step -> input -> [step, output], as JSON")
    parser.add_argument("--executor_input", required=True, help="what Kubeflow says, as JSON")
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
    """By step, of those whose account can be read."""
    for name, text in given["inputs"]["parameterValues"].items():
        if name.startswith(ACCOUNT_OF):
            step = name.removeprefix(ACCOUNT_OF)
            try:
                yield step, StepAccount.from_text(str(text))
            except ValueError as error:
                print(f"{SAYS}{step} is not in the report: {error}", file=sys.stderr)


def places(given: Json) -> dict[str, str]:
    """URI -> where it lies in this container, of the artifacts that Kubeflow gives."""
    return {
        one["uri"]: local_path(one["uri"])
        for entry in given["inputs"].get("artifacts", {}).values()
        for one in entry["artifacts"]
    }


def write_page(
    pipeline: str,
    run_id: str,
    graph: Graph,
    told: Mapping[str, StepAccount],
    found: Mapping[str, str],
    path: Path,
) -> None:
    """Writes the report of a run.

    Args:
      pipeline, run_id: their names.
      graph: of the pipeline.
      told: step -> its account.
      found: URI -> folder, of the artifacts that are here.
      path: of the page.

    Raises:
      ComponentError: There is no account.
      OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        record = Record(folder / "metadata.sqlite", pipeline, run_id)
        write_steps(record, graph, told)
        summary = folder / run_id / RUN_SUMMARY
        summary.parent.mkdir()
        peaks = [{"id": step, "peak_mib": one.peak_mib} for step, one in told.items()]
        summary.write_text(json.dumps({"components": peaks}), "utf-8")
        record.reader.name = _FROM
        write_report(record.reader, run_id, folder, path, found)


def in_order(graph: Graph, told: Mapping[str, StepAccount]) -> list[str]:
    """The steps in the order of the data.

    Raises:
      ComponentError: There is none.
    """
    if not told:
        raise ComponentError("no step has an account; compile the pipeline again and run it")
    after = {step: {other for other, _ in graph.get(step, {}).values()} & {*told} for step in told}
    return [*graphlib.TopologicalSorter(after).static_order()]


def write_steps(record: Record, graph: Graph, told: Mapping[str, StepAccount]) -> None:
    """Writes what the steps did, with the times that they give: all is over by now.

    Raises:
      ComponentError: There is no account.
    """
    steps = in_order(graph, told)
    by_time = sorted(steps, key=lambda step: told[step].began)
    numbers = {
        step: record.begin(step, told[step].parameters, told[step].began) for step in by_time
    }
    for step in steps:
        one = told[step]
        record.end(numbers[step], "complete", graph.get(step, {}), one.outputs, one.ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
