"""Both runners: every component is reported as it starts and ends, in the order of the data.

TFX reads the annotations of a component's function when it is defined, and mypy cannot read them.
"""
# mypy: disable-error-code="call-overload, type-arg, attr-defined"

from pathlib import Path

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver, ResolverStrategy
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel
from tfx.types.standard_artifacts import Model, Schema

from base.errors import ComponentError
from local_run.launches import Launch
from local_run.runners import run_pipeline

pytestmark = pytest.mark.component

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "ctr.pbtxt"
both_runners = pytest.mark.parametrize("runner", ["beam", "local"])


@component
def Train(  # noqa: N802 - TFX names the component after the function
    schema: InputArtifact[Schema], model: OutputArtifact[Model], fails: Parameter[int]
) -> None:
    if fails:
        raise ComponentError("no data; bring some")
    assert (Path(schema.uri) / "schema.pbtxt").is_file()
    Path(model.uri).mkdir(exist_ok=True)


@component
def Push(model: InputArtifact[Model]) -> None:  # noqa: N802
    assert Path(model.uri).is_dir()


class BrokenStrategy(ResolverStrategy):
    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        raise KeyError("no such property")


def connection(base: Path) -> metadata_store_pb2.ConnectionConfig:
    return metadata.sqlite_metadata_connection_config(str(base / "mlmd.sqlite"))


def pipeline_of(base: Path, *components: BaseNode) -> Pipeline:
    return Pipeline(
        pipeline_name="small",
        pipeline_root=str(base / "root"),
        components=[*components],
        enable_cache=True,
        metadata_connection_config=connection(base),
    )


def training_pipeline(base: Path, fails: int = 0) -> Pipeline:
    schema = ImportSchemaGen(schema_file=str(SCHEMA))
    train = Train(schema=schema.outputs["schema"], fails=fails)
    push = Push(model=train.outputs["model"])
    return pipeline_of(base, push, train, schema)  # the order is the compiler's business


def states_of(launches: list[Launch]) -> list[tuple[str, str]]:
    return [(launch.component, launch.state) for launch in launches]


@both_runners
def test_each_start_and_end_is_reported_in_the_order_of_the_data(
    runner: str, tmp_path: Path
) -> None:
    for run_id, end in (("first", "complete"), ("second", "cached")):
        seen: list[Launch] = []
        run_pipeline(training_pipeline(tmp_path), run_id, runner, seen.append)
        assert states_of(seen) == [
            (component, state)
            for component in ("ImportSchemaGen", "Train", "Push")
            for state in ("running", end)
        ]
        assert all(launch.seconds > 0 for launch in seen if launch.state != "running")


@both_runners
def test_the_run_has_the_id_it_was_given(runner: str, tmp_path: Path) -> None:
    run_pipeline(training_pipeline(tmp_path), "monday", runner, lambda _: None)
    store = mlmd.MetadataStore(connection(tmp_path))
    assert [run.name for run in store.get_contexts_by_type("pipeline_run")] == ["monday"]


@both_runners
def test_a_component_that_fails_is_reported_with_its_error_and_nothing_follows(
    runner: str, tmp_path: Path
) -> None:
    seen: list[Launch] = []
    with pytest.raises(Exception, match="no data; bring some"):
        run_pipeline(training_pipeline(tmp_path, fails=1), "run", runner, seen.append)
    assert states_of(seen)[2:] == [("Train", "running"), ("Train", "failed")]
    assert isinstance(seen[-1].error, ComponentError)


@both_runners
def test_inputs_that_cannot_be_resolved_stop_the_run(runner: str, tmp_path: Path) -> None:
    """TFX's launcher records a failed execution and says nothing; the run would go on."""
    resolver = Resolver(strategy_class=BrokenStrategy, model=Channel(type=Model)).with_id("Broken")
    pipeline = pipeline_of(tmp_path, resolver, Push(model=resolver.outputs["model"]))
    seen: list[Launch] = []
    with pytest.raises(Exception, match="could not resolve its inputs"):
        run_pipeline(pipeline, "run", runner, seen.append)
    assert states_of(seen) == [("Broken", "running"), ("Broken", "failed")]


def test_a_resolver_that_finds_nothing_is_complete(tmp_path: Path) -> None:
    resolver = Resolver(model=Channel(type=Model)).with_id("Earlier")
    seen: list[Launch] = []
    run_pipeline(pipeline_of(tmp_path, resolver), "run", "local", seen.append)
    assert states_of(seen) == [("Earlier", "running"), ("Earlier", "complete")]
