"""How fast training is: python -m benchmarks.training --help

Examples a second of the second pass over the training data: our training with one worker, with two
on a Spark cluster of two processes, and DeepCTR's `model.fit` on arrays in memory with the same
model (DCN-v2, the same layers, embeddings, batches and optimizer) and the same transformed rows.
Ours reads TFRecords as it goes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.deepctr_runs import run_deepctr
from benchmarks.measure import Run, alternate, median, run_candidate, write_result
from benchmarks.prepared_data import Prepared

PARAMETERS = {"model": "dcn", "optimizer": "adam", "dropout": 0.0, "weight_averaging": 0.0}
SPARK = "local-cluster[2,1,2048]"


@click.command()
@click.option("--quick", is_flag=True, help="60,000 impressions, one run of each.")
@click.option("--impressions", default=200_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool, impressions: int, repeats: int, scratch: Path | None, out: Path | None
) -> None:
    """Ours with one and two workers, and DeepCTR, in turns."""
    size, repeats = (60_000, 1) if quick else (impressions, repeats)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)) / f"clicks-{size}"
        prepared = prepared_data.clicks(folder, size)
        arrays = folder / "arrays.npz"
        if not arrays.exists():
            prepared_data.write_arrays(prepared, arrays)
        peer = {
            "arrays": str(arrays),
            "model": "dcn",
            "optimizer": "adam",
            "rate": 0.001,
            "batch_size": 1024,
            "deep_layers": [256, 128],
            "fit_only": True,
            "widths": prepared_data.widths(prepared),
        }

        def ours(workers: int) -> Run:
            arguments = {"folder": str(folder), "workers": workers}
            return run_candidate("benchmarks.training", arguments)

        runs = alternate(
            {
                "1 worker": lambda: ours(1),
                "2 workers": lambda: ours(2),
                "deepctr": lambda: Run(run_deepctr(peer), 0.0, 0.0),
            },
            repeats,
            Console(stderr=True).print,
        )
    speed = {
        "1 worker": median(runs["1 worker"], "training"),
        "2 workers": median(runs["2 workers"], "training"),
        "deepctr": median(runs["deepctr"], "rows_per_second"),
    }
    figures = {"impressions": size, "examples_per_s": {k: round(v) for k, v in speed.items()}}
    ratios = {
        "vs_deepctr_fit": speed["1 worker"] / speed["deepctr"],
        "two_workers_vs_one": speed["2 workers"] / speed["1 worker"],
    }
    every = {name: [run.answer for run in found] for name, found in runs.items()}
    result = write_result("training", every, figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def train(prepared: Prepared, workers: int) -> dict[str, Any]:
    """In a process of its own: training_speed.run_fn by the component's executor."""
    from tfx.components.trainer.executor import GenericExecutor
    from tfx.proto import trainer_pb2
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.utils import json_utils, proto_utils

    from benchmarks.training_speed import ANSWER
    from components.spark_trainer.executor import SETTINGS, SparkTrainerExecutor
    from tabular.feature_set import FEATURES

    def artifact(kind: Any, path: Path) -> list[Any]:
        made = kind()
        made.uri = str(path)
        return [made]

    with tempfile.TemporaryDirectory() as out:
        model_run = Path(out) / "model_run" / "1"
        examples = artifact(standard_artifacts.Examples, prepared.transformed_examples)
        examples[0].split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
        config: dict[str, Any] = {
            "parameters": PARAMETERS,
            FEATURES: prepared.features.to_json(),
        }
        if workers > 1:
            spark = {"master": SPARK, "conf": {"spark.executor.memory": "1g"}, "jars": []}
            config[SETTINGS] = {"workers": workers, "spark": spark}
        executor = SparkTrainerExecutor() if workers > 1 else GenericExecutor()
        executor.Do(
            {
                "examples": examples,
                "transform_graph": artifact(
                    standard_artifacts.TransformGraph, prepared.transform_graph
                ),
            },
            {
                "model": artifact(standard_artifacts.Model, Path(out) / "model" / "1"),
                "model_run": artifact(standard_artifacts.ModelRun, model_run),
            },
            {
                "run_fn": "benchmarks.training_speed.run_fn",
                "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs()),
                "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs()),
                "custom_config": json_utils.dumps(config),
            },
        )
        answer: dict[str, Any] = json.loads((model_run / ANSWER).read_text("utf-8"))
        return answer


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        answer = train(Prepared(Path(wanted["folder"])), wanted["workers"])
        print(json.dumps(answer), flush=True)
    else:
        main()
