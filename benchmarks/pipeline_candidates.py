"""One run of one whole pipeline, in a process of its own: `python -m` this module with JSON.

The last line printed is JSON: seconds since the process began, seconds by component, rows by split
and the AUC of what was trained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.pipeline_rows import HOURS, SCHEMA, as_they_are, spark_types
from tabular.feature_set import FEATURES

# Whatever few rows teach: all candidates end with a model that is pushed.
LENIENT = (
    "evaluator.thresholds.auc={min: 0.01, max_worse: 1}",
    "evaluator.thresholds.calibration={min: 0.1, max: 10}",
    "evaluator.min_positives=1",
)
CONFIG = ROOT / "applications/ctr/configs/ctr.yaml"


def stock(data: Path, out: Path) -> dict[str, Any]:
    """TFX's own components with their defaults, as its templates put them together."""
    import psutil

    from local_run.launches import Launch
    from local_run.memory import peak_memory
    from local_run.runners import run_pipeline
    from local_run.summary import overall_metrics

    times: dict[str, float] = {}

    def report(launch: Launch) -> None:
        peak.report(launch)
        if launch.state != "running":
            times[launch.component] = launch.seconds

    with peak_memory() as peak:  # LocalDagRunner is the same loop, but reports nothing
        run_pipeline(_stock_pipeline(data, out), "stock", "local", report)
    seconds = time.time() - psutil.Process().create_time()
    assert list((out / "serving").iterdir()), "the model was not blessed"
    metrics, _ = overall_metrics(_only(out, "root/Evaluator/evaluation/*"))
    rows = {
        split: _count(_only(out, f"root/CsvExampleGen/examples/*/Split-{split}"))
        for split in ("train", "eval", "test")
    }
    components = {
        name: {"seconds": round(took, 1), "mib": peak.by_component[name]}
        for name, took in times.items()
    }
    return {"seconds": seconds, "components": components, "auc": metrics["auc"], "rows": rows}


def _stock_pipeline(data: Path, out: Path) -> Any:
    from tfx import v1 as tfx
    from tfx.orchestration import metadata

    from pipeline.config import load_config
    from pipeline.eval_config import eval_config
    from pipeline.nodes import hash_splits

    config = load_config(CONFIG, LENIENT)
    features = {FEATURES: config.loaded_application().features.to_json()}
    example_gen = tfx.components.CsvExampleGen(
        input_base=str(data / "csv"), output_config=hash_splits(config)
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(SCHEMA))
    schema = schema_gen.outputs["schema"]
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )
    transform = tfx.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="tabular.preprocessing.preprocessing_fn",
        custom_config=features,
    )
    trainer = tfx.components.Trainer(
        run_fn="tabular.entry_points.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        custom_config={**features, "parameters": config.trainer.parameters},
    )
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed_model_resolver")
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        baseline_model=resolver.outputs["model"],
        eval_config=eval_config(config.evaluator),
        example_splits=["test"],
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(out / "serving"))
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(out / "root"),
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            validator,
            transform,
            trainer,
            resolver,
            evaluator,
            pusher,
        ],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(out / "metadata.sqlite")
        ),
    )


def ours(data: Path, out: Path) -> dict[str, Any]:
    """`local_runner.py` on the CSV that stock reads."""
    source = {"format": "csv", "path": "csv/*.csv", "columns": spark_types()}
    etl = f"{as_they_are.__module__}.{as_they_are.__name__}"
    return _run_ours(
        out,
        f"data_root={data}",
        f"sources={json.dumps({'rows': source})}",
        f"etl={json.dumps({'function': etl})}",
        "spans={window: 1}",
    )


def ours_from_logs(data: Path, out: Path) -> dict[str, Any]:
    """`local_runner.py` on the raw logs."""
    return _run_ours(out, f"data_root={data / 'data'}", f"spans.window={HOURS}")


def _run_ours(out: Path, *overrides: str) -> dict[str, Any]:
    places = (f"run_root={out}/runs", f"serving_root={out}/serving", "truth=null")
    command = [sys.executable, str(ROOT / "local_runner.py"), "--config", str(CONFIG)]
    for override in (*places, *LENIENT, "sample_data=null", *overrides):
        command += ["--set", override]
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    summary = json.loads(Path(_only(out, "runs/ctr/runs/*/run_summary.json")).read_text("utf-8"))
    assert summary["pushed_model"], "the model was not pushed"
    return {
        "seconds": seconds,
        "components": {
            one["id"]: {"seconds": one["seconds"], "mib": one["peak_mib"]}
            for one in summary["components"]
        },
        "auc": summary["metrics"]["auc"],
        "rows": {split: summary["rows"][split] for split in ("train", "eval", "test")},
    }


def _only(out: Path, pattern: str) -> str:
    (found,) = out.glob(pattern)
    return str(found)


def _count(folder: str) -> int:
    """Examples below it."""
    import tensorflow as tf

    files = [str(path) for path in Path(folder).iterdir()]
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    return int(records.reduce(0, lambda count, _: count + 1).numpy())


CANDIDATES = {one.__name__: one for one in (stock, ours, ours_from_logs)}


def main(arguments: dict[str, Any]) -> None:
    # As local_runner.py has it: the same model needs the same Keras.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments["scratch"]) as out:
        answer = CANDIDATES[arguments["candidate"]](Path(arguments["data"]), Path(out))
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
