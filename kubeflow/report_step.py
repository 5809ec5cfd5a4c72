"""The last step of the compiled pipeline: the run's report, as an HTML artifact.

    python -m kubeflow.report_step --pipeline NAME --executor_input JSON

What the steps have told becomes a small store of ML Metadata, so that the page is made as on a
laptop, by `lineage.report`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import graphlib
import json
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as mlmd

from kubeflow.record import Record
from kubeflow.report_task import PAGE, RUN_ID
from kubeflow.step import SAYS, local_path
from kubeflow.told import Json, Told
from lineage.report.write import write_report
from lineage.store import LineageStore
from lineage.trace import SUMMARY

_STORE = "Kubeflow Pipelines"  # where the page says that it is from


def main(arguments: Sequence[str]) -> int:
    """Writes the page where Kubeflow wants it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kubeflow.report_step", description=__doc__)
    parser.add_argument("--pipeline", required=True, help="its name")
    parser.add_argument("--executor_input", required=True, help="what Kubeflow says, as JSON")
    options = parser.parse_args(arguments)
    given = json.loads(options.executor_input)
    parameters = dict(given["inputs"]["parameterValues"])
    run_id = str(parameters.pop(RUN_ID))
    try:
        told = {step: Told.from_json(text) for step, text in parameters.items()}
    except (TypeError, ValueError):
        print(f"{SAYS}a step's image is of another version than this one's", file=sys.stderr)
        return 1
    (page,) = given["outputs"]["artifacts"][PAGE]["artifacts"]
    try:
        write_page(options.pipeline, run_id, told, places(given), Path(local_path(page["uri"])))
    except Exception as error:
        traceback.print_exc()
        print(f"{SAYS}no report: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


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
    told: Mapping[str, Told],
    found: Mapping[str, str],
    path: Path,
) -> None:
    """Writes the report of a run.

    Args:
      pipeline, run_id: their names.
      told: step -> what it said.
      found: URI -> folder, of the artifacts that are here.
      path: of the page.

    Raises:
      LineageError: nothing was told.
      OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        database = folder / "metadata.sqlite"
        _write_store(database, pipeline, run_id, told)
        summary = folder / run_id / SUMMARY
        summary.parent.mkdir()
        peaks = [{"id": step, "peak_mib": one.peak_mib} for step, one in told.items()]
        summary.write_text(json.dumps({"components": peaks}), "utf-8")
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = str(database)
        store = LineageStore.from_connection_config(config)
        store.name = _STORE
        write_report(store, run_id, folder, path, found)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A step in this run, in seconds since the epoch; `cached` if Kubeflow answered from its cache,
    with what the step had told when it ran.
    """

    began: float
    ended: float
    cached: bool


def placed(told: Mapping[str, Told]) -> dict[str, Placed]:
    """In the order in which they began.

    A step that began before what it takes was there did not run. What takes nothing is never
    cached (spec.py), so that each way through the pipeline begins with a step that ran.
    """
    makers = {
        artifact["uri"]: step for step, one in told.items() for artifact in one.outputs.values()
    }
    after = {
        step: {makers[uri] for uri in one.inputs.values() if uri in makers}
        for step, one in told.items()
    }
    found: dict[str, Placed] = {}
    for step in graphlib.TopologicalSorter(after).static_order():
        one = told[step]
        ready = max((found[other].ended for other in after[step]), default=one.began)
        cached = one.began < ready
        found[step] = Placed(ready, ready, True) if cached else Placed(one.began, one.ended, False)
    return dict(sorted(found.items(), key=lambda pair: pair[1].began))


def _write_store(path: Path, pipeline: str, run_id: str, told: Mapping[str, Told]) -> None:
    record = Record(path, pipeline, run_id)
    there: set[str] = set()
    times = {}
    for step, place in placed(told).items():
        one = told[step]
        number = record.begin(step, one.parameters)
        inputs = {key: uri for key, uri in one.inputs.items() if uri in there}
        record.end(number, "cached" if place.cached else "complete", inputs, one.outputs)
        there |= {artifact["uri"] for artifact in one.outputs.values()}
        times[number] = place
    del record  # closes it: SQLite's file has one writer
    _set_times(path, times)


def _set_times(path: Path, times: Mapping[int, Placed]) -> None:
    """The store takes its own clock; this one is filled when all is over."""
    rows = [(round(p.began * 1000), round(p.ended * 1000), n) for n, p in times.items()]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "UPDATE Execution SET create_time_since_epoch = ?, last_update_time_since_epoch = ? "
            "WHERE id = ?",
            rows,
        )
        first = min(began for began, _, _ in rows)
        connection.execute("UPDATE Context SET create_time_since_epoch = ?", (first,))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
