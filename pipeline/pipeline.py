"""The pipeline, written once for every runner; it reads in the order of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tensorflow_data_validation as tfdv

# Not `tfx.v1`: it also imports the clients of Google Cloud, six seconds in every process.
from tfx import components as tfx_components
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, infra_validator_pb2, range_config_pb2
from tfx.types import Channel, standard_artifacts

from base.code_fingerprint import code_sha256, file_sha256
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
from pipeline.beam_arguments import ONE_PROCESS, with_runner
from pipeline.config import ConfigError, PipelineConfig
from pipeline.eval_config import eval_config
from pipeline.sections import Incremental, Statistics
from tabular.feature_set import FEATURES
from tabular.metrics import extractors, grouped_auc, tfma_metrics


@dataclasses.dataclass(frozen=True)
class Locations:
    """Where a runner keeps things; the same pipeline lies elsewhere in a cluster."""

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
      config: what to run.
      locations: where.
      runner: Kubeflow has no metadata store of ours and no custom resolver strategies.
      metadata_connection_config: of ML Metadata, for local runners.
    """
    warm_start = config.trainer.warm_start and runner == "local"
    incremental = config.incremental if runner == "local" else None

    # Spark ETL: raw logs to tf.Examples, with what was refused beside them.
    example_gen = spark_example_gen(config, locations.data_root)
    examples = example_gen.outputs["examples"]

    # The data is measured and held against the curated schema; anomalies stop the run.
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

    # One preprocessing function for training and serving, of this run's examples or of a window.
    window = span_window(incremental, examples) if incremental else None
    transform = make_transform(config, window.outputs if window else {"examples": examples}, schema)
    transform.add_upstream_node(gate)

    # Optional: vectors of values that occur together, by Word2Vec.
    embeddings = spark_embeddings(config, examples) if config.embeddings else None

    # Optional: which parameters to train with.
    learned = examples if incremental else transform.outputs["transformed_examples"]
    tuner = make_tuner(config, learned, transform, embeddings) if config.tuner else None

    # In this process, or on the workers of a Spark cluster.
    earlier = earlier_model_resolver(examples) if warm_start else None
    trainer = make_trainer(config, learned, transform, schema, earlier, embeddings, tuner)
    model = trainer.outputs["model"]

    # The candidate must be good, and no worse than the model that was blessed before it.
    baseline = baseline_of(model, runner, locations)
    evaluator = Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(config.evaluator),
        module_path=extractors.__name__,
        example_splits=[config.split.judged],
        schema=schema,
        max_feature_auc=config.evaluator.max_feature_auc,
        code_sha256=code_sha256(tfma_metrics.__name__, grouped_auc.__name__, extractors.__name__),
    )

    # A real server has to answer with it what the training would have answered.
    canary = None
    if config.serving.canary:
        canary = model_canary(config, runner, model, examples, transform)

    # A blessed model goes where the model server looks.
    pusher = Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=canary.outputs["blessing"] if canary else None,
        base_directory=locations.serving_folder,
        release=config.serving.release,
        keep_versions=config.serving.keep_versions,
        followers=config.serving.followers(),
    )
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
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=[*with_runner(config.beam_pipeline_args or ONE_PROCESS)],
    )


def local_locations(config: PipelineConfig) -> Locations:
    """Absolute paths on this machine."""
    return Locations(
        pipeline_root=str((config.run_folder / "artifacts").resolve()),
        data_root=str(Path(config.data_root).resolve()),
        serving_folder=str(config.serving_folder.resolve()),
        schema_file=str(Path(config.schema_file).resolve()),
    )


def spark_example_gen(config: PipelineConfig, data_root: str) -> SparkExampleGen:
    """The Spark ETL of this config, reading under `data_root`."""
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
    """The examples of the last spans; see components/span_window."""
    return Resolver(
        strategy_class=SpanWindowStrategy,
        config={"length": incremental.window, "refresh": incremental.refresh},
        current=examples,
        examples=Channel(type=standard_artifacts.Examples),
        analyzer_cache=Channel(type=standard_artifacts.TransformCache),
    ).with_id("SpanWindow")


def make_transform(
    config: PipelineConfig, inputs: Mapping[str, Channel], schema: Channel
) -> tfx_components.Transform:
    """The standard Transform, or for a window ours.

    Args:
      config: with the application.
      inputs: `examples`; of a window also `analyzer_cache`: then each span is analyzed once, and
        whoever reads examples transforms them.
      schema: of the examples.
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
        disable_statistics=True,  # StatisticsGen has them; a fifth of this step's time
    )


def stats_options(wanted: Statistics) -> tfdv.StatsOptions | None:
    """None: TFX's own."""
    return tfdv.StatsOptions(sample_rate=wanted.sample_rate) if wanted.sample_rate else None


def spark_embeddings(config: PipelineConfig, examples: Channel) -> SparkEmbeddings:
    """Of this config's `embeddings`."""
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
    """The standard Trainer, or for several workers the same on Spark; `examples` are transformed
    ones, or those that Transform has not materialized.
    """
    application = config.loaded_application()
    arguments: dict[str, Any] = {
        "run_fn": application.run_fn,
        "examples": examples,
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "base_model": earlier.outputs["model"] if earlier else None,
        "embeddings": embeddings.outputs["embeddings"] if embeddings else None,
        "hyperparameters": tuner.outputs["best_hyperparameters"] if tuner else None,
        "custom_config": {
            FEATURES: application.features.to_json(),
            "parameters": config.trainer.parameters,
            "code_sha256": code_sha256(application.run_fn),
            **_how(transform),
        },
    }
    if config.trainer.workers == 1:
        return Trainer(**arguments)
    spark = config.trainer.spark.spark_config()
    trainer = SparkTrainer(workers=config.trainer.workers, spark=spark, **arguments)
    return trainer.with_id("Trainer")


def _how(transform: tfx_components.Transform) -> dict[str, Any]:
    """Tells the application when examples still have to be transformed."""
    return {} if "transformed_examples" in transform.outputs else {"transformed": False}


def make_tuner(
    config: PipelineConfig,
    examples: Channel,
    transform: tfx_components.Transform,
    embeddings: SparkEmbeddings | None,
) -> Tuner:
    """TFX's Tuner, with the training of the application."""
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
            **_how(transform),
        },
    )


def model_canary(
    config: PipelineConfig,
    runner: str,
    model: Channel,
    examples: Channel,
    transform: tfx_components.Transform,
) -> ModelCanary | tfx_components.InfraValidator:
    """Our own server by default; for a runner that may start pods the standard InfraValidator.

    Raises:
      ConfigError: TFX has no InfraValidator for this runner.
    """
    canary = config.serving.canary
    assert canary is not None
    if runner == "kubeflow" and canary.infra_validator is not None:
        raise ConfigError(
            "serving.canary.infra_validator: TFX does not compile InfraValidator for Kubeflow "
            "Pipelines v2; remove the key, and the project's own server is asked instead"
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
    return tfx_components.InfraValidator(
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
    ).with_id("ModelCanary")


def hash_splits(config: PipelineConfig) -> example_gen_pb2.Output:
    """The config's splits in TFX's form."""
    split = example_gen_pb2.SplitConfig.Split
    return example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[split(name=n, hash_buckets=b) for n, b in config.split.buckets.items()],
            partition_feature_name=config.split.feature,
        )
    )


def range_config(config: PipelineConfig) -> range_config_pb2.RangeConfig:
    """The config's spans in TFX's form."""
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
    """The model to begin with; see components/baseline_resolver."""
    return Resolver(
        strategy_class=EarlierModelStrategy,
        examples=examples,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("EarlierModel")


def baseline_of(model: Channel, runner: str, locations: Locations) -> Resolver | LiveModel:
    """The model to compare with: blessed before, or, where no store can be asked, served now."""
    if runner == "kubeflow":
        return LiveModel(model, locations.serving_folder).with_id("Baseline")
    resolver = Resolver(
        strategy_class=BaselineModelStrategy,
        candidate=model,
        model=Channel(type=standard_artifacts.Model),
        model_blessing=Channel(type=standard_artifacts.ModelBlessing),
    )
    return resolver.with_id("Baseline")
