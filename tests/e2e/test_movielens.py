"""MovieLens 100k: real data, another application, and every optional step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.e2e.losses import validation_losses
from tests.e2e.small_data import ONE_PROCESS

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RATES = [0.02, 0.1]
OPTIONS = (
    ONE_PROCESS,
    "--set=split.buckets={train: 17, eval: 2, test: 1}",
    "--set=embeddings={token: film_id, group: user_id, order: timestamp_ms, where: liked}",
    f"--set=tuner={{trials: 2, parameters: {{learning_rate: {RATES}}}}}",
    "--set=trainer.parameters={epochs: 1, batch_size: 512, model: din}",
    "--set=trainer.workers=2",
    "--set=trainer.trusted_network=true",
    "--set=trainer.decision={budget: 0.1, costs: {review: 1, missed: 5}}",
)


@pytest.fixture(scope="module")
def summary(project) -> dict[str, Any]:
    return project.run("movielens", *OPTIONS)


@pytest.fixture(scope="module")
def artifacts(project, summary) -> Path:
    return project.folder / "runs/movielens/artifacts"


def test_movielens_runs_and_learns(summary) -> None:
    assert summary["state"] == "complete"
    assert summary["rows"]["read"] == 100_000
    assert summary["blessed"]
    assert summary["metrics"]["auc"] > 0.72


def test_it_is_judged_on_a_split_of_its_own(summary) -> None:
    assert summary["rows"]["test"] < summary["rows"]["train"] / 10
    for name in ("auc", "grouped_auc", "log_loss", "ece"):
        low, high = summary["intervals"][name]
        assert low < summary["metrics"][name] < high
    assert f"auc {summary['metrics']['auc']:.4f}  (95 %: " in summary["output"]


def test_the_best_trial_trains_the_model(summary, artifacts: Path) -> None:
    (results,) = (artifacts / "Tuner" / "tuner_results").glob("*/tuner_results.json")
    trials = json.loads(results.read_text())
    assert sorted(trial["learning_rate"] for trial in trials) == RATES
    best = min(trials, key=lambda trial: trial["score"])
    (chosen,) = (artifacts / "Tuner" / "best_hyperparameters").glob("*/best_hyperparameters.txt")
    assert json.loads(chosen.read_text())["values"] == {"learning_rate": best["learning_rate"]}
    # The trial trained with one worker, the model with two: as good within noise.
    (losses,) = (artifacts / "Trainer" / "model_run").glob("*/validation")
    assert min(validation_losses(losses)) == pytest.approx(best["score"], rel=1e-2)


def test_two_workers_of_spark_train_the_model(artifacts: Path) -> None:
    logs = {path.name for path in (artifacts / "Trainer" / "model_run").glob("*/worker-*.log")}
    assert logs == {"worker-0.log", "worker-1.log"}


def test_the_workers_agree_on_a_threshold(summary, artifacts: Path) -> None:
    """Each has scored the whole split and says so; what the chief says is exported."""
    (folder,) = (artifacts / "Trainer" / "decision").iterdir()
    decision = json.loads((folder / "decision.json").read_text())
    assert decision["rows"] == summary["rows"]["eval"]
    assert 0.09 < decision["share"] <= 0.1
    logs = (artifacts / "Trainer" / "model_run").glob("*/worker-*.log")
    lines = [[one for one in log.read_text().splitlines() if "decision: " in one] for log in logs]
    assert lines[0] == lines[1] != []
    assert 0.05 < summary["metrics"]["decision_share"] < 0.15
    assert summary["metrics"]["decision_cost"] > 0


def test_the_model_has_the_embeddings_of_spark(summary, artifacts: Path) -> None:
    from tabular.precomputed import PrecomputedVectors

    (folder,) = (artifacts / "SparkEmbeddings" / "embeddings").iterdir()
    found = PrecomputedVectors.read(str(folder))
    assert len(found.tokens) > 500
    loaded = tf.saved_model.load(summary["pushed_model"])
    (fixed,) = [w for w in loaded.model.variables if "film_id_xf_fixed" in w.name]
    assert not fixed.trainable
    vocabulary = Path(summary["pushed_model"]) / "assets" / "film_id"
    expected = found.for_tokens(vocabulary.read_bytes().splitlines())
    assert np.array_equal(fixed.numpy()[: len(expected)], expected)
