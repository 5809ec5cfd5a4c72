"""TFX's entry points for any FeatureSet: run_fn and tuner_fn. preprocessing.py has the third.

TFX calls them by their dotted paths and passes the FeatureSet as JSON in custom_config. An
application with other needs writes its own functions around `train` and `ServedModel`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from numpy.typing import NDArray
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from base.model_outputs import DECISION
from base.shared_names import TRAINING_FACTS
from tabular.decision import Decision, choose
from tabular.decision_rule import DecisionRule
from tabular.errors import TrainingError
from tabular.feature_set import FEATURES, FeatureSet, transformed
from tabular.keras_model import build_model, compile_model, input_names
from tabular.labels import LabelSummary, check_weights, loss_factors, weights_of_classes
from tabular.metrics.scores import ScoreCounts
from tabular.parameters import TrainerParameters
from tabular.precomputed import PrecomputedVectors
from tabular.preprocessing import DENSE_VECTOR, index_sizes
from tabular.signatures import ServedModel
from tabular.tasks import task_of
from tabular.training import distribution
from tabular.training.calibration import calibrate
from tabular.training.checkpoints import RunFolder
from tabular.training.distribution import SINGLE_WORKER, Shard
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds, fit
from tabular.training.search import Search
from tabular.training.validation import Scorer
from tabular.warm_start import WarmStart, save_slots

_log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> list[float]:
    """Trains on the transformed examples and exports the model to serving_model_dir.

    A Tuner's best values (fn_args.hyperparameters) override `trainer.parameters`.

    Returns:
      Validation loss of each round. Benchmarks use it; TFX ignores it.
    """
    features = FeatureSet.from_json(fn_args.custom_config[FEATURES])
    given = fn_args.custom_config.get("parameters", {})
    found = (fn_args.hyperparameters or {}).get("values", {})
    parameters = TrainerParameters(**{**given, **found})
    worker = distribution.this_worker()
    folder = RunFolder.for_run(fn_args, {"workers": worker.count})
    model, losses = train(fn_args, features, parameters, folder, fn_args.model_run_dir)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    decision = choose_decision(fn_args, features, parameters, model)
    served = ServedModel(model, transform, features, decision)
    if worker.is_chief:
        save_slots(model, fn_args.serving_model_dir)
    distribution.export(served.save, fn_args.serving_model_dir, worker)
    if worker.is_chief:
        folder.remove()
    return losses


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Searches custom_config["search"] with custom_config["trials"] trainings."""
    features = FeatureSet.from_json(fn_args.custom_config[FEATURES])
    given, space = fn_args.custom_config["parameters"], fn_args.custom_config["search"]

    def validation_loss(values: dict[str, Any], trial: str) -> float:
        folder = RunFolder(Path(fn_args.working_dir) / trial)
        parameters = TrainerParameters(**{**given, **values})
        _, losses = train(fn_args, features, parameters, folder, str(folder.path / "logs"))
        folder.remove()
        return min(losses)

    seed = TrainerParameters(**given).seed
    trials = fn_args.custom_config["trials"]
    tuner = Search(space, trials, seed, validation_loss, fn_args.working_dir)
    return TunerFnResult(tuner=tuner, fit_kwargs={})


def train(
    fn_args: FnArgs,
    features: FeatureSet,
    parameters: TrainerParameters,
    folder: RunFolder,
    log_folder: str,
) -> tuple[keras.Model, list[float]]:
    """Builds and trains the network.

    Args:
      fn_args: Files, transform graph, base model and precomputed vectors.
      features: Declared features.
      parameters: Network and training parameters.
      folder: Folder for checkpoints.
      log_folder: Folder for TensorBoard, and for a file with the number of training rows and the
        parameters that were chosen by it.

    Returns:
      Model with its best weights, and the validation loss of each round.

    Raises:
      TrainingError: The labels do not fit the task, a weight is negative or not finite, or the loss
        is not finite.
    """
    keras.utils.set_random_seed(parameters.seed)
    worker = distribution.this_worker()
    strategy = distribution.strategy(worker)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    tokens, sizes = vocabularies(transform, features), transformed_sizes(transform, features)
    learned = examples_of("train", fn_args, features, parameters, worker)
    evaluation = examples_of("eval", fn_args, features, parameters, worker)
    task, labels = task_of(features), labels_of_all(learned, strategy)
    judging = labels_of_all(evaluation, strategy)
    for split, summary in (("train", labels), ("eval", judging)):
        check_weights(features.weight, summary, split)
        task.check_values(features, summary, split)
    task.check(features, labels)
    chosen = parameters.by_rows(labels.rows)
    if chosen:
        _log.info("chosen by the number of training rows, %d: %s", labels.rows, chosen)
    parameters = parameters.for_rows(labels.rows)
    class_weights = weights_of_classes(parameters.class_weights, labels)
    rounds = Rounds.for_rows(
        labels.rows,
        parameters.batch_size,
        parameters.epochs,
        parameters.rounds_per_epoch,
        parameters.patience,
    )
    vectors = precomputed_vectors(fn_args.custom_config.get("embeddings"), features, tokens)
    with strategy.scope():
        model = build_model(features, sizes, dense_width(transform), parameters, labels, vectors)
        earlier = None
        if fn_args.base_model:
            earlier = WarmStart(model, fn_args.base_model, features, tokens, sizes)
            earlier.copy_weights()
        compile_model(model, features, parameters, rounds, labels)
        if earlier:
            earlier.copy_slots()
    losses = fit(
        model,
        learned,
        evaluation,
        rounds,
        folder,
        task,
        batch_size=parameters.batch_size,
        shuffle_rows=parameters.shuffle_rows,
        seed=parameters.seed,
        log_folder=log_folder,
        factors=loss_factors(class_weights, features.weight is not None, labels),
    )
    if parameters.calibrate:
        whole_split = evaluation  # already in memory; with several workers, only this one's share
        if worker.count > 1:
            whole_split = examples_of("eval", fn_args, features, parameters)
        calibrate(model, task, whole_split)
    if worker.is_chief:
        facts = {
            "rows": labels.rows,
            "rounds": len(losses),
            "by_rows": chosen,
            "val_loss": min(losses),
            "constant_loss": task.constant_loss(judging),
        }
        with tf.io.gfile.GFile(f"{log_folder}/{TRAINING_FACTS}", "w") as file:
            file.write(json.dumps(facts, indent=1))
    return model, losses


def choose_decision(
    fn_args: FnArgs, features: FeatureSet, parameters: TrainerParameters, model: keras.Model
) -> Decision | None:
    """Chooses the threshold of `trainer.decision` on the whole split eval.

    With several workers each scores the whole split, and the chief's threshold is exported.

    Args:
      fn_args: Files, transform graph, and the rule in custom_config.
      features: Declared features of a binary task.
      parameters: Parameters of the training.
      model: Model that is exported, after its calibration.

    Returns:
      Decision; None if the config asks for none.

    Raises:
      TrainingError: A score is not finite, or the split is empty.
    """
    asked = fn_args.custom_config.get(DECISION)
    if asked is None:
        return None
    rule = DecisionRule.model_validate(asked)
    found = Scorer(model).scores(examples_of("eval", fn_args, features, parameters))
    try:
        decision = choose(rule, ScoreCounts.count(found.labels, found.scores, found.weights))
    except ValueError as error:
        raise TrainingError(f"trainer.decision: split eval: {error}") from None
    chosen = decision.chosen
    _log.info(
        "decision: scores from %.6g on are reviewed, which are %.3f %% of split eval, with a "
        "precision of %.4f and a recall of %.4f",
        *(chosen.threshold, 100 * chosen.share, chosen.precision, chosen.recall),
    )
    for warning in decision.warnings:
        _log.warning("decision: %s", warning)
    return decision


def examples_of(
    split: Literal["train", "eval"],
    fn_args: FnArgs,
    features: FeatureSet,
    parameters: TrainerParameters,
    worker: Shard = SINGLE_WORKER,
) -> Examples:
    """Returns a worker's share of a split with the features that the network takes.

    Raises:
      NoExamplesError: The split has no files.
    """
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    specs = transform.transformed_feature_spec()
    names = input_names(features, transformed_sizes(transform, features), parameters)
    targets = (features.label, *([features.weight] if features.weight else []))
    spec = {name: specs[name] for name in (*names, *targets)}
    raw = None if fn_args.custom_config.get("transformed", True) else transform
    patterns = fn_args.train_files if split == "train" else fn_args.eval_files
    found = Examples.matching(split, patterns, spec, features.label, worker, raw)
    return dataclasses.replace(found, weight=features.weight, classes=features.class_count)


def labels_of_all(examples: Examples, strategy: tf.distribute.Strategy) -> LabelSummary:
    """Returns the labels of all workers' shares. Every worker must call it."""
    shares = distribution.gather_from_workers(examples.labels.to_numbers(), strategy)
    return functools.reduce(LabelSummary.merged, map(LabelSummary.from_numbers, shares))


def vocabularies(transform: tft.TFTransformOutput, features: FeatureSet) -> dict[str, list[bytes]]:
    """Returns the tokens, by index, of each categorical feature that has a vocabulary."""
    return {
        one.name: transform.vocabulary_by_name(one.name)
        for one in features.categorical
        if one.vocabulary is not None
    }


def transformed_sizes(transform: tft.TFTransformOutput, features: FeatureSet) -> dict[str, int]:
    """Returns the number of indices of each transformed index feature."""
    tokens = vocabularies(transform, features)
    return index_sizes(features, {name: len(them) for name, them in tokens.items()})


def dense_width(transform: tft.TFTransformOutput) -> int:
    """Returns the length of the dense vector; 0 if there is none."""
    specs = transform.transformed_feature_spec()
    return int(specs[DENSE_VECTOR].shape[0]) if DENSE_VECTOR in specs else 0


def precomputed_vectors(
    uri: str | None, features: FeatureSet, tokens: Mapping[str, Sequence[bytes]]
) -> dict[str, NDArray[np.float32]]:
    """Reads vectors that an earlier step has learned.

    Args:
      uri: Folder of the artifact, or None if there is none.
      features: Declared features.
      tokens: Categorical feature -> its tokens by index.

    Returns:
      Transformed index feature -> float32 [number of indices, width]; empty without a `uri`.

    Raises:
      TrainingError: The vectors belong to no categorical feature with a vocabulary.
    """
    if uri is None:
        return {}
    found = PrecomputedVectors.read(uri)
    if found.feature not in tokens:
        raise TrainingError(
            "embeddings.token must be a categorical feature with a vocabulary: "
            f"{', '.join(tokens)}. Received: '{found.feature}'"
        )
    (category,) = (one for one in features.categorical if one.name == found.feature)
    vectors = found.for_tokens(tokens[found.feature])
    unknown = np.zeros((category.oov_buckets, vectors.shape[1]), np.float32)
    return {transformed(found.feature): np.vstack([vectors, unknown])}
