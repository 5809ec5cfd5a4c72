"""The network beside gradient-boosted trees: python -m benchmarks.small_tables --help

Four kinds of table with 15,000 rows of 13 features; see small_tables_data.py. The trees are those
of `trainer.baseline`. The network has its default parameters, and those that were the defaults for
any number of rows until 2026-12-01. All are judged by the same functions on the same 20,000 rows.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.measure import run_candidate, write_result
from benchmarks.small_tables_data import DECLARED, LABEL, TABLES, SmallTable, write_table

# Name -> trainer.parameters; None for trees.
CANDIDATES: dict[str, dict[str, Any] | None] = {
    "trees": None,
    "network": {},
    "network_2_epochs": {"epochs": 2, "batch_size": 1024},
}
METRICS = ("auc", "log_loss")
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="One table of each kind.")
@click.option("--seeds", default=3, show_default=True, help="Tables of each kind.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, seeds: int, scratch: Path | None, out: Path | None) -> None:
    """Trains trees and networks on each table, and scores them on rows they have not seen."""
    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for kind in TABLES:
            for seed in range(1 if quick else seeds):
                folder = (scratch or Path(temporary)) / f"{kind}-{seed}"
                wanted = {"folder": str(folder), "kind": kind, "seed": seed}
                answer = run_candidate("benchmarks.small_tables", wanted).answer
                runs.setdefault(kind, []).append(answer)
                console.print(kind, seed, answer)
    figures = {kind: _figures(found) for kind, found in runs.items()}
    ratios = {
        f"{kind}_log_loss_vs_trees": found["network"]["log_loss"] / found["trees"]["log_loss"]
        for kind, found in figures.items()
    }
    result = write_result("small_tables", runs, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def _figures(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Candidate -> mean of each metric over the tables, and its lowest and highest value."""
    found: dict[str, Any] = {}
    for name in CANDIDATES:
        values = {metric: [run[name][metric] for run in runs] for metric in METRICS}
        found[name] = {metric: round(statistics.mean(v), 5) for metric, v in values.items()}
        found[name] |= {f"{metric}_range": [min(v), max(v)] for metric, v in values.items()}
        found[name]["seconds"] = round(statistics.median(run[name]["seconds"] for run in runs), 1)
    found["best_log_loss"] = round(statistics.mean(run["best_log_loss"] for run in runs), 5)
    return found


def measure(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """Scores every candidate on one table; in a process of its own."""
    table = write_table(folder, kind, seed)
    found: dict[str, Any] = {"best_log_loss": round(table.best_log_loss, 5)}
    for name, parameters in CANDIDATES.items():
        started = time.monotonic()
        if parameters is None:
            scores = _trees(table)
        else:
            scores = _network(table, {**parameters, "seed": 17 + seed})
        seconds = round(time.monotonic() - started, 1)
        found[name] = {**{key: round(v, 5) for key, v in scores.items()}, "seconds": seconds}
    return found


def _trees(table: SmallTable) -> dict[str, float]:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from tabular.baseline.comparison import compare
    from tabular.metrics.metric_names import metric_name

    text = (table.folder / "schema.pbtxt").read_text("utf-8")
    schema = text_format.Parse(text, schema_pb2.Schema())
    files = {split: table.files(split) for split in ("train", "eval", "test")}
    return compare(files, "test", DECLARED, schema, [*map(metric_name, METRICS)]).metrics


def _network(table: SmallTable, parameters: dict[str, Any]) -> dict[str, float]:
    import numpy as np
    import tensorflow as tf

    from tabular.baseline.judging import judge
    from tabular.entry_points import run_fn
    from tabular.metrics.metric_names import metric_name

    with tempfile.TemporaryDirectory() as out:
        arguments = table.fn_args(out, parameters)
        run_fn(arguments)
        model = tf.saved_model.load(arguments.serving_model_dir).signatures["serving_default"]
        spec = {LABEL: tf.io.FixedLenFeature([], tf.int64)}
        judged = []
        for records in tf.data.TFRecordDataset(table.files("test"), "GZIP").batch(8192):
            labels = tf.io.parse_example(records, spec)[LABEL].numpy()
            scores = model(examples=records)[DECLARED.prediction].numpy()[:, 0]
            judged.append((labels, scores.astype(np.float64), np.ones(len(labels))))
    return judge(judged, DECLARED.task, [*map(metric_name, METRICS)], ())[0]


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        answer = measure(Path(wanted["folder"]), wanted["kind"], wanted["seed"])
        print(json.dumps(answer), flush=True)
    else:
        main()
