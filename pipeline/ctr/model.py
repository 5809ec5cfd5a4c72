"""TFX's entry point: builds the network of the config, trains it, and exports what is served."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras
from tfx.components.trainer.fn_args_utils import FnArgs

from pipeline.ctr import features, preprocessing
from pipeline.ctr.earlier_model import start_from
from pipeline.ctr.encoding import EmbeddingTables, embedding_width
from pipeline.ctr.networks import NETWORKS, ON_CLICKS, Encoded, RecentClicks
from pipeline.ctr.parameters import ModelParameters
from pipeline.ctr.serving_signatures import PROBABILITY, ServedModel
from pipeline.training import distribution
from pipeline.training.checkpoints import RunFolder, TrainingError
from pipeline.training.examples import Examples
from pipeline.training.rounds import Rounds, fit
from pipeline.training.schedule import WarmUpCosineDecay

layers = keras.layers


def run_fn(fn_args: FnArgs) -> None:
    """Trains on the transformed examples and exports to serving_model_dir."""
    parameters = ModelParameters(**fn_args.custom_config.get("parameters", {}))
    keras.utils.set_random_seed(parameters.seed)
    worker = distribution.this_worker()
    strategy = distribution.strategy(worker)
    transform = tft.TFTransformOutput(fn_args.transform_output)
    sizes = index_sizes(transform)
    everything = transform.transformed_feature_spec()
    spec = {name: everything[name] for name in (*input_names(sizes, parameters), features.LABEL)}

    def examples(split: str, patterns: list[str]) -> Examples:
        return Examples.of(split, patterns, spec, features.LABEL, worker)

    train, evaluation = examples("train", fn_args.train_files), examples("eval", fn_args.eval_files)
    rows, clicks = (int(n) for n in distribution.of_all_workers(train.counts, strategy).sum(axis=0))
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
    with strategy.scope():
        model = build_model(sizes, dense_width(transform), parameters, clicks / rows)
        if fn_args.base_model:
            start_from(model, fn_args.base_model, vocabularies(transform), sizes)
        compile_model(model, parameters, rounds)
    folder = RunFolder.of(fn_args, {"workers": worker.count})
    fit(
        model,
        train,
        evaluation,
        rounds,
        folder,
        batch_size=parameters.batch_size,
        shuffle_rows=parameters.shuffle_rows,
        seed=parameters.seed,
        log_folder=fn_args.model_run_dir,
    )
    served = ServedModel(model, transform)
    distribution.export(
        lambda path: tf.saved_model.save(served, path, signatures=served.signatures()),
        fn_args.serving_model_dir,
        worker,
    )
    if worker.is_chief:
        folder.remove()


def index_sizes(transform: tft.TFTransformOutput) -> dict[str, int]:
    """Transformed index feature -> number of indices, by the vocabularies of Transform."""
    return preprocessing.index_sizes(
        {name: transform.vocabulary_size_by_name(name) for name in features.CATEGORICAL}
    )


def vocabularies(transform: tft.TFTransformOutput) -> dict[str, list[bytes]]:
    """Categorical feature -> tokens by index."""
    return {name: transform.vocabulary_by_name(name) for name in features.CATEGORICAL}


def dense_width(transform: tft.TFTransformOutput) -> int:
    """Length of the dense vector."""
    return transform.transformed_feature_spec()[preprocessing.DENSE_VECTOR].shape[0]


def build_model(
    sizes: Mapping[str, int], dense_width: int, parameters: ModelParameters, click_rate: float
) -> keras.Model:
    """Model from transformed features to the probability of a click, [batch, 1]; not compiled.

    Args:
      sizes: transformed index feature -> number of indices.
      dense_width: length of the dense vector.
      parameters: which network, and its sizes.
      click_rate: of the training data; the output starts there instead of at one half.
    """
    inputs = _inputs(sizes, dense_width, parameters)
    encoded = _encoded(inputs, sizes, parameters)
    log_odds = NETWORKS[parameters.model](encoded, parameters)
    bias = keras.initializers.Constant(math.log(click_rate / (1 - click_rate)))
    probability = layers.Dense(
        1, activation="sigmoid", kernel_initializer="ones", bias_initializer=bias, name=PROBABILITY
    )
    return keras.Model(inputs, probability(log_odds))


def compile_model(model: keras.Model, parameters: ModelParameters, rounds: Rounds) -> None:
    """Optimizer, loss and metrics; within the scope of the strategy that `model` was made in."""
    warm_up = int(parameters.warm_up * rounds.steps * parameters.rounds_per_epoch)
    rate = WarmUpCosineDecay(parameters.peak_rate, warm_up, rounds.all_steps)
    if parameters.optimizer == "adagrad":
        # The accumulator starts at almost nothing: a rare embedding's first step is a whole one.
        optimizer = keras.optimizers.Adagrad(rate, initial_accumulator_value=1e-6)
    else:
        optimizer = keras.optimizers.Adam(rate)
    model.compile(
        optimizer,
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.AUC(name="auc", num_thresholds=1000)],
    )


def input_names(sizes: Mapping[str, int], parameters: ModelParameters) -> list[str]:
    """Transformed features that the network takes."""
    names = [preprocessing.DENSE_VECTOR, *sizes]
    if parameters.model in ON_CLICKS:
        names += [features.transformed(name) for name in features.SEQUENCES]
        names.append(features.transformed(features.RECENT_HOURS))
    return names


def _inputs(
    sizes: Mapping[str, int], dense_width: int, parameters: ModelParameters
) -> dict[str, tf.Tensor]:
    inputs = {}
    for name in input_names(sizes, parameters):
        shape, kind = [], tf.int64
        if name == preprocessing.DENSE_VECTOR:
            shape, kind = [dense_width], tf.float32
        elif name not in sizes:
            shape = [features.RECENT.length]
            is_index = name != features.transformed(features.RECENT_HOURS)
            kind = tf.int64 if is_index else tf.float32
        inputs[name] = keras.Input(shape, dtype=kind, name=name)
    return inputs


def _encoded(
    inputs: dict[str, tf.Tensor], sizes: Mapping[str, int], parameters: ModelParameters
) -> Encoded:
    indices = {name: inputs[name] for name in sizes}
    shared = {
        features.transformed(name): features.transformed(whose)
        for name, whose in features.SEQUENCES.items()
        if features.transformed(name) in inputs
    }
    lists = {name: inputs[name] for name in shared}
    tables = EmbeddingTables(sizes, embedding_width, shared, parameters.l2, name="embeddings")
    weights = EmbeddingTables(sizes, lambda _: 1, {}, name="weights")
    embedded = tables({**indices, **lists})
    clicks = None
    if lists:
        hours = inputs[features.transformed(features.RECENT_HOURS)]
        clicks = RecentClicks(
            item=layers.Concatenate()([embedded[name] for name in shared.values()]),
            items=layers.Concatenate()([embedded[name] for name in shared]),
            facts=hours[:, :, tf.newaxis],
            present=next(iter(lists.values())) >= 0,
        )
    return Encoded(
        dense=inputs[preprocessing.DENSE_VECTOR],
        weights=lambda: list(weights(indices).values()),
        fields={name: embedded[name] for name in sizes},
        clicks=clicks,
    )
