"""Errors in a compiled pipeline that was edited by hand are one line that says where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from base.errors import ComponentError
from kubeflow.local.steps import read_pipeline

pytestmark = pytest.mark.unit
GOLDEN = Path(__file__).parent / "golden/ctr.yaml"
Change = Callable[[dict[str, Any]], object]


def tasks(spec: dict[str, Any]) -> Any:
    return spec["root"]["dag"]["tasks"]


def given(spec: dict[str, Any], task: str) -> Any:
    return tasks(spec)[task]["inputs"]


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Change], Path]:
    def write(change: Change) -> Path:
        spec, platform = yaml.safe_load_all(GOLDEN.read_text("utf-8"))
        change(spec)
        file = tmp_path / "p.yaml"
        file.write_text(yaml.safe_dump_all([spec, platform]), "utf-8")
        return file

    return write


def test_the_steps_are_in_an_order_in_which_they_can_run() -> None:
    pipeline = read_pipeline(GOLDEN)
    place = {step.name: number for number, step in enumerate(pipeline.steps)}
    assert len(place) == 12
    for step in pipeline.steps:
        assert all(place[other] < place[step.name] for other in step.after)
    assert pipeline.name == "ctr"
    trainer = pipeline.steps[place["Trainer"]]
    assert trainer.inputs["transform_graph"].step == "Transform"
    assert trainer.mounts == {"pipeline": "/mnt/pipeline"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: tasks(s)["Trainer"].update(dependentTask=[]), "is not a valid PipelineSpec: "),
        (lambda s: tasks(s).clear(), "root: it has no tasks"),
        (lambda s: tasks(s).pop("Trainer"), "it waits for Trainer, which is no step"),
        (lambda s: s["components"].pop("Trainer"), "Trainer: there is no component Trainer"),
        (
            lambda s: s["deploymentSpec"]["executors"].pop("Trainer_executor"),
            "Trainer: there is no executor Trainer_executor",
        ),
        (
            lambda s: s["deploymentSpec"]["executors"].update(Trainer_executor={"resolver": {}}),
            "Trainer: its executor is resolver; containers are run here",
        ),
        (
            lambda s: tasks(s)["Transform"]["dependentTasks"].append("Pusher"),
            "they wait for each other: ",
        ),
        (
            lambda s: given(s, "Trainer")["artifacts"]["schema"]["taskOutputArtifact"].update(
                outputArtifactKey="shema"
            ),
            "Trainer: schema: ImportSchemaGen gives no shema; it gives schema",
        ),
        (
            lambda s: given(s, "Report")["parameters"]["account_of_Pusher"].update(
                taskOutputParameter={"producerTask": "Pusher", "outputParameterKey": "acount"}
            ),
            "Report: account_of_Pusher: Pusher gives no acount; it gives account",
        ),
        (
            lambda s: given(s, "Trainer")["artifacts"].update(
                schema={"componentInputArtifact": "schema"}
            ),
            "Trainer: schema: only outputs of other steps are run here",
        ),
        (
            lambda s: s["root"]["inputDefinitions"]["parameters"].pop("span"),
            "SparkExampleGen: span: the pipeline has no parameter span",
        ),
        (
            lambda s: tasks(s)["Pusher"].update(triggerPolicy={"condition": "true"}),
            "Pusher: `triggerPolicy` does not run here",
        ),
        (lambda s: s.pop("root"), "is not a compiled pipeline: it lacks `root`"),
    ],
)
def test_an_invalid_pipeline_is_one_line(
    changed: Callable[[Change], Path], change: Change, named: str
) -> None:
    with pytest.raises(ComponentError) as raised:
        read_pipeline(changed(change))
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"a: [", "cannot be read as YAML"),
        (b"\xff\xfe\xff", "cannot be read"),
        (b"", "is not a comp"),
    ],
)
def test_invalid_yaml_is_an_error(tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(content)
    with pytest.raises(ComponentError, match=named):
        read_pipeline(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"python -m kubeflow\.compile .* makes it"):
        read_pipeline(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"spam": "1"}, "--param spam: the pipeline has data_root, serving_root, span, window"),
        ({"span": "newest"}, "--param span: 'newest' is no NUMBER_INTEGER"),
    ],
)
def test_a_wrong_parameter_is_an_error(arguments: dict[str, str], named: str) -> None:
    with pytest.raises(ComponentError, match=named):
        read_pipeline(GOLDEN).arguments(arguments)


def test_a_parameter_without_a_default_is_required(changed: Callable[[Change], Path]) -> None:
    file = changed(
        lambda s: s["root"]["inputDefinitions"]["parameters"]["span"].pop("defaultValue")
    )
    pipeline = read_pipeline(file)
    with pytest.raises(ComponentError, match="--param span is required"):
        pipeline.arguments({})
    assert pipeline.arguments({"span": "7"})["span"] == 7
