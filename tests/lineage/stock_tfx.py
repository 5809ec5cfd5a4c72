"""Stores as stock TFX writes them: real pipelines, and TFX's publishing of what is too slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx.components import CsvExampleGen, ExampleValidator, SchemaGen, StatisticsGen
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies import latest_blessed_model_strategy
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import execution_publish_utils as publish
from tfx.orchestration.portable.mlmd import context_lib
from tfx.types import standard_artifacts

Outputs = Mapping[str, types.Artifact]


def run_stock_pipelines(folder: Path) -> Path:
    """Four runs of three pipelines in one store; returns the store.

    `stock` runs twice, the second time from the cache. `broken` fails. `reader` imports the
    examples of `stock`, and resolves a blessed model that there is not.
    """
    store = folder / "metadata.sqlite"
    data = folder / "data"
    data.mkdir(parents=True)
    rows = "".join(f"{number},{number % 2}\n" for number in range(60))
    (data / "rows.csv").write_text(f"x,label\n{rows}")
    for _ in range(2):
        _run(folder, "stock", _stock(data))
    with pytest.raises(RuntimeError):
        _run(folder, "broken", [CsvExampleGen(input_base=str(folder / "nothing-here"))])
    _run(folder, "reader", _reader(str(folder / "stock" / "CsvExampleGen" / "examples" / "1")))
    return store


def _run(folder: Path, name: str, components: Sequence[Any]) -> None:
    config = metadata.sqlite_metadata_connection_config(str(folder / "metadata.sqlite"))
    made = pipeline.Pipeline(
        name,
        str(folder / name),
        components=components,
        enable_cache=True,
        metadata_connection_config=config,
    )
    LocalDagRunner().run(made)


def _stock(data: Path) -> list[Any]:
    generator = CsvExampleGen(input_base=str(data))
    statistics = StatisticsGen(examples=generator.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"])
    validator = ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    return [generator, statistics, schema, validator]


def _reader(uri: str) -> list[Any]:
    importer = Importer(
        source_uri=uri,
        artifact_type=standard_artifacts.Examples,
        properties={"split_names": '["train","eval"]'},
    ).with_id("ExamplesImporter")
    resolver = Resolver(
        strategy_class=latest_blessed_model_strategy.LatestBlessedModelStrategy,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("BlessedModel")
    return [importer, StatisticsGen(examples=importer.outputs["result"]), resolver]


class StockRun:
    """Publishes the executions of a run as TFX's launcher does, without running anything.

    Args:
      folder: The folder of the store and of the artifacts.
      pipeline_name: The pipeline of the run.
      run_id: The id of the run.
    """

    def __init__(self, folder: Path, pipeline_name: str = "stock", run_id: str = "run-1") -> None:
        self.folder, self.pipeline, self.run_id = folder, pipeline_name, run_id
        self.path = folder / "metadata.sqlite"
        self.config = metadata.sqlite_metadata_connection_config(str(self.path))

    def execute(
        self,
        component: str,
        type_name: str,
        inputs: Outputs | None = None,
        outputs: Mapping[str, type[types.Artifact]] | None = None,
        properties: Mapping[str, Any] | None = None,
        failed: bool = False,
    ) -> dict[str, Any]:
        """Publishes an execution; returns its outputs, as TFX's artifacts, by key."""
        with metadata.Metadata(self.config) as handle:
            contexts = [
                context_lib.register_context_if_not_exists(handle, kind, name)
                for kind, name in (
                    ("pipeline", self.pipeline),
                    ("pipeline_run", self.run_id),
                    ("node", f"{self.pipeline}.{component}"),
                )
            ]
            execution = publish.register_execution(
                handle,
                mlmd.ExecutionType(name=type_name),
                contexts,
                {key: [artifact] for key, artifact in (inputs or {}).items()},
                properties,
            )
            if failed:
                publish.publish_failed_execution(handle, contexts, execution.id)
                return {}
            made = {key: kind() for key, kind in (outputs or {}).items()}
            for key, artifact in made.items():
                artifact.uri = str(
                    self.folder / self.pipeline / component / key / str(execution.id)
                )
                self.describe(artifact, execution.id)
            published = publish.publish_succeeded_execution(
                handle, execution.id, contexts, {key: [one] for key, one in made.items()}
            )[0]
            return {key: artifacts[0] for key, artifacts in (published or {}).items()}

    def describe(self, artifact: types.Artifact, execution_id: int) -> None:
        """Sets what the stock executors say of their outputs."""
        if artifact.type_name == "PushedModel":
            destination = self.folder / "serving" / str(1000 + execution_id)
            artifact.set_int_custom_property("pushed", 1)
            artifact.set_string_custom_property("pushed_destination", str(destination))
            artifact.set_string_custom_property("pushed_version", destination.name)
        elif artifact.type_name == "ModelBlessing":
            artifact.set_int_custom_property("blessed", 1)
            artifact.set_int_custom_property("current_model_id", 1)

    def all_components(self) -> dict[str, Any]:
        """ExampleGen, Transform, Trainer, Evaluator and Pusher; returns all outputs by key."""
        kinds = standard_artifacts
        made = self.execute(
            "ImportExampleGen",
            "tfx.components.example_gen.import_example_gen.component.ImportExampleGen",
            outputs={"examples": kinds.Examples},
            properties={"input_base": "/data/examples"},
        )
        made |= self.execute(
            "Transform",
            "tfx.components.transform.component.Transform",
            {"examples": made["examples"]},
            {"transform_graph": kinds.TransformGraph, "transformed_examples": kinds.Examples},
        )
        made |= self.execute(
            "Trainer",
            "tfx.components.trainer.component.Trainer",
            {"examples": made["transformed_examples"], "transform_graph": made["transform_graph"]},
            {"model": kinds.Model, "model_run": kinds.ModelRun},
            {"train_args": '{"num_steps": 10}'},
        )
        made |= self.execute(
            "Evaluator",
            "tfx.components.evaluator.component.Evaluator",
            {"examples": made["examples"], "model": made["model"]},
            {"evaluation": kinds.ModelEvaluation, "blessing": kinds.ModelBlessing},
        )
        return made | self.push(made, {"model_blessing": made["blessing"]})

    def push(self, made: Outputs, blessings: Outputs | None = None) -> dict[str, Any]:
        """The Pusher, with the blessings that it reads; returns its output."""
        return self.execute(
            "Pusher",
            "tfx.components.pusher.component.Pusher",
            {"model": made["model"], **(blessings or {})},
            {"pushed_model": standard_artifacts.PushedModel},
        )
