"""Builds the pipeline for every runner, in the order of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import tensorflow_data_validation as tfdv

# Not `tfx.v1`: it also imports the clients of Google Cloud, six seconds in every process.
from tfx import components as tfx_components
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, infra_validator_pb2, range_config_pb2
from tfx.types import Channel, standard_artifacts

from base.code_fingerprint import code_sha256, file_sha256
from base.model_outputs import DECISION
from base.section import ConfigError
from components.anomaly_gate.component import AnomalyGate
from components.baseline_resolver.earlier_model import EarlierModelStrategy
from components.baseline_resolver.strategy import BaselineModelStrategy
from components.curated_schema.component import CuratedSchema
from components.evaluator.component import Evaluator
from components.live_model.component import LiveModel
from components.model_canary.component import ModelCanary
from components.pusher.component import Pusher
from components.span_window.strategy import SpanWindowStrategy
from components.spark_embeddings import Sequences, SparkEmbeddings
from components.spark_example_gen import SparkExampleGen
from components.spark_trainer import SparkTrainer
from components.trainer.component import Trainer, Tuner
from components.transform.component import Transform
from components.tree_baseline.component import TreeBaseline
from pipeline.beam_arguments import ONE_PROCESS, with_runner
from pipeline.config import PipelineConfig
from pipeline.eval_config import eval_config
from pipeline.sections import Incremental, Statistics
from tabular.feature_set import FEATURES
from tabular.metrics import extractors, grouped, tfma_metrics

_Node = TypeVar("_Node", bound=BaseNode)


@dataclasses.dataclass(frozen=True)
class Locations:
    """Paths that differ between runners, such as this machine and a cluster."""

    pipeline_root: str
    data_root: str
    serving_folder: str
    schema_file: str


def create_pipeline(
    config: PipelineConfig,
    locations: Locations,
    *,
    runner: Literal["local", "kubeflow"] = "local",
    metadata_connection_config: object | None = None,
) -> Pipeline:
    """Builds the pipeline of an application.

    Args:
      config: Config of the pipeline.
      locations: Paths as the runner sees them.
      runner: Runner of the pipeline. Kubeflow has neither our metadata store nor custom resolvers.
      metadata_connection_config: Connection to ML Metadata, for local runners.
    """
    warm_start = config.trainer.warm_start and runner == "local"
    incremental = config.incremental if runner == "local" else None

    # The Spark ETL turns raw logs into tf.Examples and quarantines rejected rows.
    example_gen = spark_example_gen(config, locations.data_root)
    examples = example_gen.outputs["examples"]

    # Statistics are compared with the curated schema, and anomalies stop the run.
    statistics_gen = tfx_components.StatisticsGen(
        examples=examples, stats_options=stats_options(config.statistics)
    )
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = CuratedSchema(
        schema_file=locations.schema_file, sha256=file_sha256(config.schema_file)
    ).with_id("ImportSchemaGen")
    schema = schema_gen.outputs["schema"]
    validator = tfx_components.ExampleValidator(statistics=statistics, schema=schema)
    gate = AnomalyGate(anomalies=validator.outputs["anomalies"], allow=config.allowed_anomalies)

    # One preprocessing function serves training and serving, over this run's examples or a window.
    window = span_window(incremental, examples) if incremental else None
    transform = make_transform(config, window.outputs if window else {"examples": examples}, schema)
    transform.add_upstream_node(gate)

    # Optional vectors of values that occur together, by Word2Vec.
    embeddings = spark_embeddings(config, examples) if config.embeddings else None

    # Optional search for training parameters.
    learned = examples if incremental else transform.outputs["transformed_examples"]
    tuner = make_tuner(config, learned, transform, embeddings) if config.tuner else None

    # Training runs in this process, or on the workers of a Spark cluster.
    earlier = earlier_model_resolver(examples) if warm_start else None
    trainer = make_trainer(config, learned, transform, schema, earlier, embeddings, tuner)
    model = trainer.outputs["model"]

    # The candidate must be good, and no worse than the model that was blessed before it.
    baseline = baseline_of(model, runner, locations)
    evaluator = Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(
            config.evaluator,
            config.loaded_application().features.classes,
            config.trainer.decision.costs if config.trainer.decision else None,
        ),
        module_path=extractors.__name__,
        example_splits=[config.split.judged],
        schema=schema,
        max_feature_auc=config.evaluator.max_feature_auc,
        code_sha256=code_sha256(tfma_metrics.__name__, grouped.__name__, extractors.__name__),
    )

    # A real server must give the scores of the training graph.
    canary = None
    if config.serving.canary:
        canary = model_canary(config, runner, model, examples, transform)

    # A blessed model goes to the folder of the model server.
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=canary.outputs["blessing"] if canary else None,
        base_directory=locations.serving_folder,
        release=config.serving.release,
        keep_versions=config.serving.keep_versions,
        followers=config.serving.followers(),
    )
    # Optional trees, to compare the model with. They come last, so that nothing depends on them.
    trees = None
    if config.trainer.baseline:
        trees = tree_baseline(config, examples, schema)
        trees.add_upstream_node(pusher)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=locations.pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            validator,
            gate,
            *([window] if window else []),
            transform,
            *([embeddings] if embeddings else []),
            *([tuner] if tuner else []),
            *([earlier] if earlier else []),
            trainer,
            baseline,
            evaluator,
            *([canary] if canary else []),
            pusher,
            *([trees] if trees else []),
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=[*with_runner(config.beam_pipeline_args or ONE_PROCESS)],
    )


def local_locations(config: PipelineConfig) -> Locations:
    """Returns absolute paths on this machine."""
    return Locations(
        pipeline_root=str((config.run_folder / "artifacts").resolve()),
        data_root=str(Path(config.data_root).resolve()),
        serving_folder=str(config.serving_folder.resolve()),
        schema_file=str(Path(config.schema_file).resolve()),
    )


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
    return _with_id(resolver, "SpanWindow")


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
    return _with_id(trainer, "Trainer")


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
        metrics=map(str, evaluator.measured),
        judged=config.split.judged,
        weight=evaluator.weight,
        not_applied=[
            *(["class_weights"] if given.get("class_weights") else []),
            *(["embeddings"] if config.embeddings else []),
            *(["warm_start"] if config.trainer.warm_start else []),
            *grouped_metrics,
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
    return _with_id(validator, "ModelCanary")


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
    return _with_id(resolver, "EarlierModel")


def baseline_of(model: Channel, runner: str, locations: Locations) -> Resolver | LiveModel:
    """Returns the baseline: the latest blessed model, or on Kubeflow the model that is served."""
    if runner == "kubeflow":
        return _with_id(LiveModel(model, locations.serving_folder), "Baseline")
    resolver = Resolver(
        strategy_class=BaselineModelStrategy,
        candidate=model,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
    return _with_id(resolver, "Baseline")


def _with_id(node: _Node, node_id: str) -> _Node:
    node.with_id(node_id)  # returns the node, without its type
    return node
