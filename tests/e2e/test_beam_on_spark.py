"""StatisticsGen, Transform and Evaluator on a Spark cluster give what they give in one process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
import tensorflow_model_analysis as tfma

from dev_services.beam import beam_on_spark
from tests.e2e.small_data import SMALL
from tests.spark_io.two_hosts import two_hosts

# It starts a cluster and a job server: four minutes, of which `make test` has no more to give.
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CONFIG = "applications/ctr/configs/ctr.yaml"
SPLITS = ("train", "eval")


@pytest.fixture(scope="module")
def direct(after_a_run) -> dict[str, Any]:
    project, summary = after_a_run
    return {**summary, "artifacts": project.folder / "runs/ctr/artifacts"}


@pytest.fixture(scope="module")
def on_spark(after_a_run, tmp_path_factory) -> dict[str, Any]:
    """The same config with other `beam_pipeline_args`: a run of its own, none of it cached."""
    project, _ = after_a_run
    folder = tmp_path_factory.mktemp("beam")
    with two_hosts(folder / "cluster") as cluster, beam_on_spark(folder, cluster.url) as beam:
        given = f"--set=beam_pipeline_args={json.dumps(beam.pipeline_args())}"
        folders = ("--set=run_root=runs-spark", "--set=serving_root=runs-spark/serving")
        project.command("local_runner.py", "--config", CONFIG, *SMALL, *folders, given)
    (summary,) = (project.folder / "runs-spark/ctr/runs").glob("*/run_summary.json")
    return {
        **json.loads(summary.read_text()),
        "artifacts": project.folder / "runs-spark/ctr/artifacts",
        "jobs": (folder / "job_server.log").read_text(),
    }


def made(run: dict[str, Any], component: str, key: str) -> Path:
    (found,) = (run["artifacts"] / component / key).glob("[0-9]*")
    return Path(found)


def test_the_steps_ran_on_the_cluster_on_both_hosts(on_spark) -> None:
    states = {one["id"]: one["state"] for one in on_spark["components"]}
    assert {"StatisticsGen", "Transform", "Evaluator"} <= states.keys()
    assert set(states.values()) == {"complete"}
    # Three pipelines, each an application of its own, with tasks on either host.
    assert len(re.findall("Submitted application", on_spark["jobs"])) == 3
    for host in ("127.0.0.1", "127.0.0.2"):
        assert re.search(rf"Finished task .* on {re.escape(host)} ", on_spark["jobs"])


@pytest.mark.parametrize("split", SPLITS)
def test_statistics(direct, on_spark, split: str) -> None:
    one, other = (
        tfdv.load_stats_binary(str(made(run, "StatisticsGen", "statistics") / name))
        for run in (direct, on_spark)
        for name in [f"Split-{split}/FeatureStats.pb"]
    )
    assert summary_of(one) == summary_of(other)


def summary_of(statistics: Any) -> dict[str, Any]:
    """What of the statistics is exact: quantiles are sketches, and their merging has an order."""
    (dataset,) = statistics.datasets
    found: dict[str, Any] = {"rows": dataset.num_examples}
    for feature in dataset.features:
        numeric = feature.HasField("num_stats")
        common = feature.num_stats.common_stats if numeric else feature.string_stats.common_stats
        values: dict[str, Any] = {"there": common.num_non_missing, "gone": common.num_missing}
        if numeric:
            stats = feature.num_stats
            values |= {
                name: pytest.approx(getattr(stats, name), rel=1e-6, abs=1e-9)
                for name in ("mean", "std_dev", "min", "max", "num_zeros")
            }
        else:
            values |= {
                "unique": feature.string_stats.unique,
                "length": pytest.approx(feature.string_stats.avg_length, rel=1e-6),
                "top": {one.value: one.frequency for one in feature.string_stats.top_values[:3]},
            }
        found[feature.path.step[0]] = values
    return found


def test_vocabularies(direct, on_spark) -> None:
    one, other = (
        {
            path.name: path.read_bytes()
            for path in (
                made(run, "Transform", "transform_graph") / "transform_fn/assets"
            ).iterdir()
        }
        for run in (direct, on_spark)
    )
    assert len(one) > 2
    assert one == other


@pytest.mark.parametrize("split", SPLITS)
def test_transformed_examples(direct, on_spark, split: str) -> None:
    one, other = (transformed(run, split) for run in (direct, on_spark))
    assert len(one) == direct["rows"][split]
    assert len(one) == len(other)
    # The last digit of a mean depends on the order of the sum, and with it each scaled value.
    assert sorted(one) == pytest.approx(sorted(other), rel=1e-4, abs=1e-4)


def transformed(run: dict[str, Any], split: str) -> list[float]:
    """For each example the sum of all its values."""
    folder = made(run, "Transform", "transformed_examples") / f"Split-{split}"
    files = [str(path) for path in folder.iterdir()]
    found = []
    for record in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        features = example.features.feature.values()
        found.append(sum(sum(f.float_list.value) + sum(f.int64_list.value) for f in features))
    return found


def test_evaluation(direct, on_spark) -> None:
    """The model was trained again: counts are the same by slice, metrics nearly."""
    one, other = (
        {
            tuple(key): values[""][""]
            for key, values in tfma.load_eval_result(
                str(made(run, "Evaluator", "evaluation"))
            ).slicing_metrics
        }
        for run in (direct, on_spark)
    )
    assert len(one) > 5
    count = "example_count"
    assert {key: values[count] for key, values in one.items()} == {
        key: values[count] for key, values in other.items()
    }
    for name in ("auc", "calibration"):
        assert other[()][name]["doubleValue"] == pytest.approx(
            one[()][name]["doubleValue"], rel=0.02
        )
    assert on_spark["blessed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "--runner=PortableRunner, '--job_endpoint=127.0.0.1:9'",
            "nobody answers at 127.0.0.1:9 (--job_endpoint)",
        ),
        ("--runner=SparkRuner", "Unexpected pipeline runner: SparkRuner. Valid values are "),
    ],
)
def test_a_runner_that_cannot_be_had_is_said_before_anything_runs(
    after_a_run, arguments: str, said: str
) -> None:
    project, _ = after_a_run
    given = ("--set=run_root=runs-refused", f"--set=beam_pipeline_args=[{arguments}]")
    failed = project.command("local_runner.py", "--config", CONFIG, *SMALL, *given, code=2)
    assert f"Error: beam_pipeline_args: {said}" in failed.stderr
    assert "running" not in failed.stdout + failed.stderr
