"""Makes the steps of a pipeline from a config, in the order of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import tensorflow_data_validation as tfdv

# Not `tfx.v1`: it also imports the clients of Google Cloud, six seconds in every process.
from tfx import components as tfx_components
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.proto import example_gen_pb2, infra_validator_pb2, range_config_pb2
from tfx.types import Channel, standard_artifacts

from base.code_fingerprint import code_sha256
from base.model_outputs import DECISION
from base.section import ConfigError
from components.baseline_resolver.earlier_model import EarlierModelStrategy
from components.baseline_resolver.strategy import BaselineModelStrategy
from components.live_model.component import LiveModel
from components.model_canary.component import ModelCanary
from components.span_window.strategy import SpanWindowStrategy
from components.spark_embeddings import Sequences, SparkEmbeddings
from components.spark_example_gen import SparkExampleGen
from components.spark_trainer import SparkTrainer
from components.trainer.component import Trainer, Tuner
from components.transform.component import Transform
from components.tree_baseline.component import TreeBaseline
from pipeline.config import PipelineConfig
from pipeline.sections import Incremental, Statistics
from tabular.feature_set import FEATURES

_Node = TypeVar("_Node", bound=BaseNode)


def spark_example_gen(config: PipelineConfig, data_root: str) -> SparkExampleGen:
    """Returns the Spark ETL of this config, which reads below `data_root`."""
    time_cut = config.split.time.time_cut() if config.split.time else None
    return SparkExampleGen(
        input_base=data_root,
        sources=config.sources,
        etl=config.etl.function or config.loaded_application().build_examples,
        etl_parameters=config.etl.parameters,
        output_config=None if time_cut else hash_splits(config),
        time_cut=time_cut,
        range_config=range_config(config),
        spark=config.spark.spark_config(),
        row_accounting=config.etl.row_accounting,
        max_quarantine_fraction=config.etl.max_quarantine_fraction,
    )


def span_window(incremental: Incremental, examples: Channel) -> Resolver:
    """Returns the resolver of the last spans' examples; see components/span_window."""
    resolver = Resolver(
        strategy_class=SpanWindowStrategy,
        config={"length": incremental.window, "refresh": incremental.refresh},
        current=examples,
        examples=Channel(type=standard_artifacts.Examples),
        analyzer_cache=Channel(type=standard_artifacts.TransformCache),
    )
    return with_id(resolver, "SpanWindow")


def make_transform(
    config: PipelineConfig, inputs: Mapping[str, Channel], schema: Channel
) -> tfx_components.Transform:
    """Returns the standard Transform, or our own for a window.

    Args:
      config: Config that names the application.
      inputs: `examples`, and for a window `analyzer_cache`. With a cache, each span is analyzed
        once, and components that read the examples transform them.
      schema: Schema of the examples.
    """
    application = config.loaded_application()
    cache = inputs.get("analyzer_cache")
    kind = tfx_components.Transform if cache is None else Transform
    return kind(
        examples=inputs["examples"],
        schema=schema,
        preprocessing_fn=application.preprocessing_fn,
        custom_config={
            FEATURES: application.features.to_json(),
            "code_sha256": code_sha256(application.preprocessing_fn),
        },
        analyzer_cache=cache,
        disable_analyzer_cache=cache is None,
        materialize=cache is None,
        disable_statistics=True,  # StatisticsGen computes them; a fifth of this step's time
    )


def stats_options(wanted: Statistics) -> tfdv.StatsOptions | None:
    """Returns the options of StatisticsGen; None for TFX's defaults."""
    return tfdv.StatsOptions(sample_rate=wanted.sample_rate) if wanted.sample_rate else None


def spark_embeddings(config: PipelineConfig, examples: Channel) -> SparkEmbeddings:
    """Returns the component for this config's `embeddings`."""
    assert config.embeddings is not None
    settings = config.embeddings.model_dump()
    names = {key: settings.pop(key) for key in ("token", "group", "order", "where")}
    spark = config.spark.spark_config()
    return SparkEmbeddings(examples, Sequences(**names), spark=spark, **settings)


def make_trainer(
    config: PipelineConfig,
    examples: Channel,
    transform: tfx_components.Transform,
    schema: Channel,
    earlier: Resolver | None,
    embeddings: SparkEmbeddings | None,
    tuner: Tuner | None,
) -> Trainer:
    """Returns the standard Trainer, or the Trainer on Spark for several workers.

    Args:
      config: Config that names the application.
      examples: Transformed examples, or raw examples if Transform does not materialize its output.
      transform: Transform step.
      schema: Schema of the examples.
      earlier: Resolver of a warm start's model.
      embeddings: Component with vectors of an earlier step.
      tuner: Search for parameters.
    """
    application, rule = config.loaded_application(), config.trainer.decision
    arguments: dict[str, Any] = {
        "run_fn": application.run_fn,
        "examples": examples,
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "base_model": earlier.outputs["model"] if earlier else None,
        "embeddings": embeddings.outputs["embeddings"] if embeddings else None,
        "hyperparameters": tuner.outputs["best_hyperparameters"] if tuner else None,
        "decision": rule is not None,
        "custom_config": {
            FEATURES: application.features.to_json(),
            "parameters": config.trainer.parameters,
            "code_sha256": code_sha256(application.run_fn),
            **_transformed_flag(transform),
            **({DECISION: rule.model_dump()} if rule else {}),
        },
    }
    if config.trainer.workers == 1:
        return Trainer(**arguments)
    spark = config.trainer.spark.spark_config()
    trainer: Trainer = SparkTrainer(workers=config.trainer.workers, spark=spark, **arguments)
    return with_id(trainer, "Trainer")


def _transformed_flag(transform: tfx_components.Transform) -> dict[str, Any]:
    """Tells the application whether it must transform the examples itself."""
    return {} if "transformed_examples" in transform.outputs else {"transformed": False}


def make_tuner(
    config: PipelineConfig,
    examples: Channel,
    transform: tfx_components.Transform,
    embeddings: SparkEmbeddings | None,
) -> Tuner:
    """Returns TFX's Tuner with the application's training."""
    assert config.tuner is not None
    application = config.loaded_application()
    return Tuner(
        embeddings=embeddings.outputs["embeddings"] if embeddings else None,
        tuner_fn=application.tuner_fn,
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        custom_config={
            **config.tuner.model_dump(include={"trials"}),
            "search": config.tuner.model_dump()["parameters"],
            FEATURES: application.features.to_json(),
            "parameters": config.trainer.parameters,
            "code_sha256": code_sha256(application.tuner_fn),
            **_transformed_flag(transform),
        },
    )


def tree_baseline(config: PipelineConfig, examples: Channel, schema: Channel) -> TreeBaseline:
    """Returns the component that trains trees on this run's raw examples, as the Trainer does."""
    evaluator = config.evaluator
    grouped_metrics = [str(name) for names in evaluator.grouped.values() for name in names]
    given = config.trainer.parameters
    return TreeBaseline(
        examples,
        schema,
        config.loaded_application().features,
        metrics=[str(name) for name in evaluator.measured if not name.is_of_decision],
        judged=config.split.judged,
        weight=evaluator.weight,
        not_applied=[
            *(["class_weights"] if given.get("class_weights") else []),
            *(["embeddings"] if config.embeddings else []),
            *(["warm_start"] if config.trainer.warm_start else []),
            *grouped_metrics,
            *(str(name) for name in evaluator.measured if name.is_of_decision),
        ],
    )


def model_canary(
    config: PipelineConfig,
    runner: str,
    model: Channel,
    examples: Channel,
    transform: tfx_components.Transform,
) -> ModelCanary | tfx_components.InfraValidator:
    """Returns our ModelCanary, or the standard InfraValidator if the config names one.

    Raises:
      ConfigError: TFX does not support InfraValidator on this runner.
    """
    canary = config.serving.canary
    assert canary is not None
    if runner == "kubeflow" and canary.infra_validator is not None:
        raise ConfigError(
            "serving.canary.infra_validator: TFX does not compile InfraValidator for Kubeflow "
            "Pipelines v2. Remove the key to use ModelCanary instead"
        )
    if canary.infra_validator is None:
        return ModelCanary(
            model=model,
            examples=examples,
            transform_graph=transform.outputs["transform_graph"],
            server="serving",
            split=config.split.judged,
            **canary.model_dump(exclude={"infra_validator"}),
        )
    tensorflow_serving = infra_validator_pb2.TensorFlowServing(tags=canary.infra_validator.tags)
    validator = tfx_components.InfraValidator(
        model=model,
        examples=examples,
        serving_spec=infra_validator_pb2.ServingSpec(
            tensorflow_serving=tensorflow_serving,
            kubernetes=infra_validator_pb2.KubernetesConfig(),
        ),
        request_spec=infra_validator_pb2.RequestSpec(
            tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(),
            split_name=config.split.judged,
            num_examples=canary.candidates,
        ),
    )
    return with_id(validator, "ModelCanary")


def hash_splits(config: PipelineConfig) -> example_gen_pb2.Output:
    """Returns the config's splits as TFX's Output."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[split(name=n, hash_buckets=b) for n, b in config.split.buckets.items()],
            partition_feature_name=config.split.feature,
        )
    )


def range_config(config: PipelineConfig) -> range_config_pb2.RangeConfig:
    """Returns the config's spans as TFX's RangeConfig."""
    window, last = config.spans.window, config.spans.last
    if last is None:
        return range_config_pb2.RangeConfig(
            rolling_range=range_config_pb2.RollingRange(num_spans=window)
        )
    return range_config_pb2.RangeConfig(
        static_range=range_config_pb2.StaticRange(
            start_span_number=last - window + 1, end_span_number=last
        )
    )


def earlier_model_resolver(examples: Channel) -> Resolver:
    """Returns the resolver of a warm start's model; see components/baseline_resolver."""
    resolver = Resolver(
        strategy_class=EarlierModelStrategy,
        examples=examples,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
    return with_id(resolver, "EarlierModel")


def baseline_of(model: Channel, runner: str, serving_folder: str) -> Resolver | LiveModel:
    """Returns the baseline: the latest blessed model, or on Kubeflow the model that is served."""
    if runner == "kubeflow":
        return with_id(LiveModel(model, serving_folder), "Baseline")
    resolver = Resolver(
        strategy_class=BaselineModelStrategy,
        candidate=model,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
    return with_id(resolver, "Baseline")


def with_id(node: _Node, node_id: str) -> _Node:
    node.with_id(node_id)  # returns the node, without its type
    return node
