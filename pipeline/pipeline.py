"""Builds the pipeline for every runner, in the order of the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

# Not `tfx.v1`: it also imports the clients of Google Cloud, six seconds in every process.
from tfx import components as tfx_components
from tfx.orchestration.pipeline import Pipeline

from base.code_fingerprint import code_sha256, file_sha256
from components.anomaly_gate.component import AnomalyGate
from components.curated_schema.component import CuratedSchema
from components.evaluator.component import Evaluator
from components.pusher.component import Pusher
from pipeline.beam_arguments import ONE_PROCESS, with_runner
from pipeline.config import PipelineConfig
from pipeline.eval_config import eval_config
from pipeline.nodes import (
    baseline_of,
    earlier_model_resolver,
    make_trainer,
    make_transform,
    make_tuner,
    model_canary,
    span_window,
    spark_embeddings,
    spark_example_gen,
    stats_options,
    tree_baseline,
)
from tabular.metrics import extractors, grouped, tfma_metrics


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
    baseline = baseline_of(model, runner, locations.serving_folder)
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
