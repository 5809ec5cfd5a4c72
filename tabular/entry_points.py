"""TFX's entry points: trains the network of the config and exports what is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_transform as tft
import tf_keras as keras
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from applications.ctr import features
from applications.ctr.parameters import PREDICTION, TrainerParameters
from tabular import preprocessing
from tabular.earlier_model import WarmStart
from tabular.item_vectors import Embeddings
from tabular.keras_model import build_model, compile_model, input_names
from tabular.signatures import ServedModel
from tabular.training import distribution
from tabular.training.calibration import calibrate
from tabular.training.checkpoints import RunFolder, TrainingError
from tabular.training.distribution import ALONE, Shard
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds, fit
from tabular.training.search import Search
from tabular.training.warm_start import save_memory


def run_fn(fn_args: FnArgs) -> list[float]:
    """Trains on the transformed examples and exports to serving_model_dir.

    A Tuner's best values (fn_args.hyperparameters) go over those of `trainer.parameters`.

    Returns:
      The validation loss of each round, for benchmarks; TFX asks for nothing.
    """
    given = fn_args.custom_config.get("parameters", {})
    found = (fn_args.hyperparameters or {}).get("values", {})
    worker = distribution.this_worker()
    folder = RunFolder.of(fn_args, {"workers": worker.count})
    parameters = TrainerParameters(**{**given, **found})
    model, losses = train(fn_args, parameters, folder, fn_args.model_run_dir)
    served = ServedModel(model, tft.TFTransformOutput(fn_args.transform_graph_path))
    if worker.is_chief:
        save_memory(model, fn_args.serving_model_dir)
    distribution.export(served.save, fn_args.serving_model_dir, worker)
    if worker.is_chief:
        folder.remove()
    return losses


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """TFX's Tuner: searches custom_config["search"] with custom_config["trials"] trainings."""
    given, space = fn_args.custom_config["parameters"], fn_args.custom_config["search"]

    def validation_loss(values: dict[str, Any], trial: str) -> float:
        folder = RunFolder(Path(fn_args.working_dir) / trial)
        parameters = TrainerParameters(**{**given, **values})
        _, losses = train(fn_args, parameters, folder, str(folder.path / "logs"))
        folder.remove()
        return min(losses)

    seed = TrainerParameters(**given).seed
    trials = fn_args.custom_config["trials"]
    tuner = Search(space, trials, seed, validation_loss, fn_args.working_dir)
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def train(
    fn_args: FnArgs, parameters: TrainerParameters, folder: RunFolder, log_folder: str
) -> tuple[keras.Model, list[float]]:
    """Builds the network and trains it.

    Args:
      fn_args: its files, transform graph, base model and embeddings.
      parameters: which network, and how.
      folder: for checkpoints.
      log_folder: for TensorBoard.

    Returns:
      The model with its best weights, and the validation loss of each round.

    Raises:
      TrainingError: there is nothing to learn from, or the loss is not finite.
    """
    keras.utils.set_random_seed(parameters.seed)
    worker = distribution.this_worker()
    strategy = distribution.strategy(worker)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    sizes = index_sizes(transform)
    transformed = transform.transformed_feature_spec()
    spec = {name: transformed[name] for name in (*input_names(sizes, parameters), features.LABEL)}

    raw = None if fn_args.custom_config.get("transformed", True) else transform

    def examples(split: str, patterns: list[str], worker: Shard = worker) -> Examples:
        return Examples.of(split, patterns, spec, features.LABEL, worker, raw)

    learned = examples("train", fn_args.train_files)
    evaluation = examples("eval", fn_args.eval_files)
    counts = distribution.of_all_workers(learned.counts, strategy).sum(axis=0)
    rows, clicks = (int(count) for count in counts)
    if clicks in (0, rows):
        raise TrainingError(
            f"the label {features.LABEL} is {min(clicks, 1)} in all {rows:,} training examples: "
            "nothing to learn from; look at the ETL's label and its attribution window"
        )
    rounds = Rounds.of(
        rows,
        parameters.batch_size,
        parameters.epochs,
        parameters.rounds_per_epoch,
        parameters.patience,
    )
    precomputed = embeddings_of(fn_args.custom_config.get("embeddings"), vocabularies(transform))
    with strategy.scope():
        model = build_model(sizes, dense_width(transform), parameters, clicks / rows, precomputed)
        earlier = None
        if fn_args.base_model:
            earlier = WarmStart(model, fn_args.base_model, vocabularies(transform), sizes)
            earlier.give_weights()
        compile_model(model, parameters, rounds)
        if earlier:
            earlier.give_memory()
    losses = fit(
        model,
        learned,
        evaluation,
        rounds,
        folder,
        batch_size=parameters.batch_size,
        shuffle_rows=parameters.shuffle_rows,
        seed=parameters.seed,
        log_folder=log_folder,
    )
    if parameters.calibrate:
        everything = evaluation  # in memory already; of several workers each has but its share
        if worker.count > 1:
            everything = examples("eval", fn_args.eval_files, ALONE)
        calibrate(model, model.get_layer(PREDICTION), everything)
    return model, losses


def index_sizes(transform: tft.TFTransformOutput) -> dict[str, int]:
    """Transformed index feature -> number of indices, by the vocabularies of Transform."""
    return preprocessing.index_sizes(
        {name: transform.vocabulary_size_by_name(name) for name in features.CATEGORICAL}
    )


def vocabularies(transform: tft.TFTransformOutput) -> dict[str, list[bytes]]:
    """Categorical feature -> tokens by index."""
    return {name: transform.vocabulary_by_name(name) for name in features.CATEGORICAL}


def embeddings_of(uri: str | None, tokens: Mapping[str, Sequence[bytes]]) -> dict[str, np.ndarray]:
    """Transformed index feature -> vectors learned beforehand, by its indices; empty without any.

    Raises:
      TrainingError: they are of no categorical feature.
    """
    if uri is None:
        return {}
    found = Embeddings.read(uri)
    if found.feature not in tokens:
        raise TrainingError(
            f"the embeddings are of '{found.feature}', which is none of the categorical features "
            f"{', '.join(tokens)}; name one of them in embeddings.token"
        )
    vectors = found.of(tokens[found.feature])
    unknown = np.zeros((features.OOV_BUCKETS, vectors.shape[1]), np.float32)
    return {features.transformed(found.feature): np.vstack([vectors, unknown])}


def dense_width(transform: tft.TFTransformOutput) -> int:
    """Length of the dense vector."""
    return transform.transformed_feature_spec()[preprocessing.DENSE_VECTOR].shape[0]
