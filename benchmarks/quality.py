"""How good the models are: python -m benchmarks.quality --help

clicks: every network on a week of the simulator's log, scored on the last twelve hours, which
neither train them nor stop their training. The simulator knows each click's true probability, and
so the best that is reachable.

movielens: every network on MovieLens 100k, beside the same of DeepCTR on the same transformed rows.
DeepCTR's models are trained with Adam and with Adagrad, and have as many layers as ours; of both
libraries the model that is best on the eval split is compared on the test split.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.deepctr_runs import run_deepctr
from benchmarks.measure import ROOT, run_candidate, write_result
from benchmarks.prepared_data import Prepared
from pipeline.config import load_config

NETWORKS = ("logistic_regression", "wide_deep", "deepfm", "dcn", "din")
PEERS = NETWORKS[1:]  # DeepCTR has no plain logistic regression
RATES = {"adam": 0.001, "adagrad": 0.05}  # Adam's default; ours for Adagrad (Keras's is worse)
DEEP_LAYERS = (256, 128)  # as ours
DATA = ("clicks", "movielens")
Scores = dict[str, dict[str, Any]]
console = Console(stderr=True)


@click.command()
@click.option("--quick", is_flag=True, help="60,000 impressions, two networks.")
@click.option("--data", "wanted", multiple=True, type=click.Choice(DATA), default=DATA)
@click.option("--impressions", default=1_000_000, show_default=True)
@click.option("--network", "networks", multiple=True, default=NETWORKS, help="Some of them.")
@click.option("--embeddings", is_flag=True, help="With Word2Vec's embeddings of items.")
@click.option("--set", "settings", multiple=True, help="trainer.parameters: key=value, for all.")
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool,
    wanted: Sequence[str],
    impressions: int,
    networks: Sequence[str],
    embeddings: bool,
    settings: Sequence[str],
    scratch: Path | None,
    out: Path | None,
) -> None:
    """Trains each network, and scores it on rows it has not seen."""
    size = 60_000 if quick else impressions
    networks = ("dcn", "din") if quick else networks
    given = {key: json.loads(value) for key, value in (s.split("=", 1) for s in settings)}
    figures: dict[str, Any] = {"impressions": size, "settings": given, "embeddings": embeddings}
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = scratch or Path(temporary)
        if "clicks" in wanted:
            prepared = prepared_data.clicks(folder / f"clicks-{size}", size)
            found = ours(prepared, networks, {**_configured("ctr"), **given}, embeddings)
            default = _configured("ctr")["model"]
            ours_now = found[default if default in found else _best(found)]
            ratios["auc_of_best_reachable"] = ours_now["auc"] / ours_now["best_reachable_auc"]
            ratios["log_loss_vs_best"] = ours_now["log_loss"] / ours_now["best_reachable_log_loss"]
            figures["clicks"] = {"best": _best(found), "default": default, "networks": found}
        if "movielens" in wanted:
            prepared = prepared_data.movielens(folder / "movielens")
            parameters = {**_configured("movielens"), **given}
            found = ours(prepared, networks, parameters, embeddings)
            peers = deepctr(prepared, [n for n in PEERS if n in networks], parameters)
            best, peer = found[_best(found)], peers[_best(peers)]
            ratios["movielens_auc_vs_deepctr"] = best["auc"] / peer["auc"]
            ratios["movielens_log_loss_vs_deepctr"] = best["log_loss"] / peer["log_loss"]
            figures["movielens"] = {
                "best": _best(found),
                "networks": found,
                "deepctr_best": _best(peers),
                "deepctr": peers,
            }
    result = write_result("quality", {}, figures, ratios, out)
    Console().print_json(json.dumps(result["ratios"]))


def _configured(name: str) -> dict[str, Any]:
    """`trainer.parameters` of a config."""
    path = ROOT / f"applications/{name}/configs/{name}.yaml"
    return load_config(path).trainer.parameters


def _best(scores: Scores) -> str:
    """By the eval split: the test split judges, it does not choose."""
    return min(scores, key=lambda name: scores[name]["eval_log_loss"])


def ours(
    prepared: Prepared, networks: Sequence[str], given: dict[str, Any], embeddings: bool
) -> Scores:
    """Network -> its scores; each in a process of its own."""
    found = {}
    for network in networks:
        run = run_candidate(
            "benchmarks.quality",
            {
                "folder": str(prepared.folder),
                "parameters": {**given, "model": network},
                "embeddings": embeddings,
            },
        )
        found[network] = {**run.answer, "peak_mib": round(run.peak_mib)}
        _say(network, found[network])
    return found


def deepctr(prepared: Prepared, networks: Sequence[str], parameters: dict[str, Any]) -> Scores:
    """Network and optimizer -> scores of DeepCTR's model."""
    arrays = prepared.folder / "arrays.npz"
    if not arrays.exists():
        prepared_data.write_arrays(prepared, arrays)
    found = {}
    for network in networks:
        for optimizer, rate in RATES.items():
            found[f"{network}, {optimizer}"] = run_deepctr(
                {
                    "arrays": str(arrays),
                    "model": network,
                    "optimizer": optimizer,
                    "rate": rate,
                    "batch_size": parameters["batch_size"],
                    "epochs": 20,
                    "patience": 2,
                    "deep_layers": DEEP_LAYERS,
                    "widths": prepared_data.widths(prepared),
                    "fit_only": False,
                }
            )
            _say(f"DeepCTR {network}, {optimizer}", found[f"{network}, {optimizer}"])
    return found


def _say(name: str, scores: dict[str, Any]) -> None:
    console.print(name, {k: round(v, 4) for k, v in scores.items()})


def train_and_score(
    prepared: Prepared, parameters: dict[str, Any], embeddings: bool
) -> dict[str, float]:
    """In a process of its own: run_fn's training, and what its model says of the test split."""
    from tabular.entry_points import run_fn

    config: dict[str, Any] = {"parameters": parameters}
    if embeddings:
        config["embeddings"] = str(prepared.embeddings)
    with tempfile.TemporaryDirectory(dir=prepared.folder) as out:
        started = time.monotonic()
        losses = run_fn(prepared.fn_args(out, config))
        seconds = time.monotonic() - started
        scores = score(prepared, f"{out}/model/1/Format-Serving")
        return {**scores, "eval_log_loss": min(losses), "rounds": len(losses), "seconds": seconds}


def score(prepared: Prepared, model_path: str) -> dict[str, float]:
    """AUC, log loss and calibration on the raw examples of the test split, and the best of them."""
    import numpy as np
    import tensorflow as tf
    from sklearn import metrics

    from local_run.best_reachable import best_reachable

    model = tf.saved_model.load(model_path).signatures["serving_default"]
    label = prepared.features.label
    spec = {label: tf.io.FixedLenFeature([], tf.int64)}
    files = [str(path) for path in sorted(prepared.raw("test").iterdir())]
    labels, probabilities = [], []
    for records in tf.data.TFRecordDataset(files, "GZIP").batch(8192):
        labels.append(tf.io.parse_example(records, spec)[label].numpy())
        probabilities.append(model(examples=records)["probability"].numpy()[:, 0])
    labelled, probability = np.concatenate(labels), np.concatenate(probabilities).astype(np.float64)
    truth = (prepared.truth, "impression_id", label, "click_probability")
    best = best_reachable(prepared.raw("test"), *truth) or {}
    return {
        "auc": float(metrics.roc_auc_score(labelled, probability)),
        "log_loss": float(metrics.log_loss(labelled, probability)),
        "calibration": float(probability.mean() / labelled.mean()),
        **best,
    }


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        answer = train_and_score(
            Prepared(Path(wanted["folder"])), wanted["parameters"], wanted["embeddings"]
        )
        print(json.dumps(answer), flush=True)
    else:
        main()
