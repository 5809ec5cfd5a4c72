"""Configs: every mistake is one line that names the key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from components.pusher.rollout import Followers
from pipeline import (
    evaluator_section,
    kubeflow_section,
    online_sections,
    streaming_sections,
)
from pipeline import sections as sections_module
from pipeline.config import ConfigError, PipelineConfig, load_config
from pipeline.pipeline import create_pipeline, local_locations
from spark_io.sources.source_types import FileSource, JdbcSource
from tabular.parameters import TrainerParameters

pytestmark = pytest.mark.unit

CTR = "applications/ctr/configs/ctr.yaml"


@pytest.fixture(autouse=True)
def project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[2].glob("applications/ctr/configs/*.yaml"))
)
def test_our_own_configs_are_valid(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_one_key_can_be_set() -> None:
    config = load_config(CTR, ["trainer.parameters.epochs=2", "spans.window=3", "run_root=/tmp/x"])
    assert config.trainer.parameters["epochs"] == 2
    assert (config.spans.window, config.run_root) == (3, "/tmp/x")


@pytest.mark.parametrize(
    ("split", "judged"),
    [
        ("{}", "eval"),
        ("{buckets: {train: 8, eval: 1, test: 1}}", "test"),
        ("{time: {column: timestamp_ms, at: -6h}}", "eval"),
        ("{time: {column: timestamp_ms, at: [-6h, -3h]}}", "test"),
    ],
)
def test_the_evaluator_judges_on_a_split_kept_apart(split: str, judged: str) -> None:
    config = load_config(CTR, [f"split={split}"])
    assert config.split.judged == judged
    components = create_pipeline(config, local_locations(config)).components
    (evaluator,) = [component for component in components if component.id == "Evaluator"]
    assert evaluator.exec_properties["example_splits"] == f'["{judged}"]'


def test_trees_come_after_the_pusher_and_nothing_waits_for_them() -> None:
    parameters = "trainer.parameters={class_weights: balanced}"
    wanted = ["trainer.baseline=true", parameters, "evaluator.group=session_id"]
    config = load_config(CTR, wanted)
    components = create_pipeline(config, local_locations(config)).components
    trees = components[-1]
    assert trees.id == "TreeBaseline"
    assert "Pusher" in {one.id for one in trees.upstream_nodes}
    assert not trees.downstream_nodes
    properties = trees.exec_properties
    assert properties["judged"] == config.split.judged
    assert json.loads(properties["metrics"])[0] == "auc"
    assert json.loads(properties["not_applied"]) == ["class_weights", "grouped_auc"]
    assert {one.id for one in components[:-1]} == component_ids([])


def component_ids(overrides: list[str]) -> set[str]:
    config = load_config(CTR, overrides)
    return {one.id for one in create_pipeline(config, local_locations(config)).components}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("spanns.window=3", "spanns: unknown key"),
        ("sources.clicks.fromat=csv", r"sources\.clicks\.fromat: unknown key"),
        ("spans.window=many", "spans.window: .*integer.*Received: many"),
        ("spans.window=0", "spans.window: .*greater than or equal to 1"),
        ("sources={}", "sources: "),
        ("name=Not Good", "name: "),
        ("schema=schemas/none.pbtxt", "schema: there is no file schemas/none.pbtxt"),
        ("split.buckets={train: 2}", "split.buckets: needs 'train' and 'eval'"),
        ("split.time={column: at, at: noon}", "split.time: a cut must be like"),
        ("split.time={column: at, at: [-3h, -2h, -1h]}", "split.time: 3 cuts in time"),
        ("window", "--set takes key=value"),
        ("spans.window.of=3", "'window' is a value, not a section"),
        ("spans={", "no valid YAML"),
        (
            "serving.servers=[localhost]",
            "serving.servers: .*expected host:port.*Received: localhost",
        ),
        ("sources.items.columns={}", "sources.items: a csv source needs `columns`"),
    ],
)
def test_a_mistake_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(CTR, [override])
    assert "\n" not in str(caught.value)


def test_a_missing_key(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match="application: this key is required"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1"),
        ("", "holds no keys"),
        ("- 1", "holds no keys"),
        ("1: x", "keys that are no text"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml")


def test_no_such_file() -> None:
    with pytest.raises(ConfigError, match=r"there is no config nowhere\.yaml"):
        load_config("nowhere.yaml")


def test_the_canary_may_be_left_out_or_be_the_standard_infra_validator() -> None:
    def ids(*overrides: str) -> dict[str, str]:
        config = load_config(CTR, overrides)
        components = create_pipeline(config, local_locations(config)).components
        return {component.id: type(component).__name__ for component in components}

    assert ids()["ModelCanary"] == "ModelCanary"
    assert "ModelCanary" not in ids("serving.canary=null")
    assert ids("serving.canary.infra_validator={}")["ModelCanary"] == "InfraValidator"


def test_a_release_waits_for_the_servers_that_are_named() -> None:
    assert load_config(CTR, []).serving.followers() == Followers()
    named = ["serving.servers=[model-server-pods:8500]", "serving.follow_seconds=60"]
    found = load_config(CTR, named).serving.followers()
    assert found == Followers(("model-server-pods:8500",), follow_seconds=60)


def test_a_source_of_another_kind_replaces_the_one_before(tmp_path: Path) -> None:
    """Its keys would be wrong for the new kind; a column named kind says nothing about a source."""
    (tmp_path / "base.yaml").write_text(Path(CTR).read_text())
    (tmp_path / "c.yaml").write_text(
        "extends: base.yaml\nsources:\n"
        "  users: {kind: jdbc, url: 'jdbc:mysql://h/d', table: users, user: u}\n"
        "  items: {kind: file, path: other.csv}\n"
        "  clicks: {columns: {kind: string}}\n"
    )
    found = load_config(tmp_path / "c.yaml").sources
    assert [*found] == [*load_config(CTR).sources]
    assert isinstance(found["users"], JdbcSource)
    items, clicks, before = found["items"], found["clicks"], load_config(CTR).sources["items"]
    assert isinstance(items, FileSource)
    assert isinstance(clicks, FileSource)
    assert isinstance(before, FileSource)
    assert (items.path, items.columns) == ("other.csv", before.columns)
    assert {"kind", "click_id"} <= clicks.columns.keys()


def test_a_config_is_laid_over_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(Path(CTR).read_text())
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: base.yaml\nname: mine\ntruth: null\ntrainer: {parameters: {epochs: 5}}\n"
        "evaluator: {slices: []}\n"
    )
    (tmp_path / "later.yaml").write_text("extends: mine.yaml\nname: later\nrun_root: /tmp/x\n")
    base, config, later = (load_config(tmp_path / f"{n}.yaml") for n in ("base", "mine", "later"))
    assert config.name == "mine"
    assert config.truth is None
    assert config.trainer.parameters == {**base.trainer.parameters, "epochs": 5}
    assert config.evaluator.slices == []
    assert config.evaluator.thresholds == base.evaluator.thresholds
    assert config.sources == base.sources
    assert later.trainer == config.trainer
    assert later.run_root == "/tmp/x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: a.yaml\n", "extends itself, by way of a.yaml"),
        ("extends: [a.yaml]\n", "the name of a file beside this one"),
        ("extends: nowhere.yaml\n", "there is no config .*nowhere.yaml"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.yaml")


MODULES = (
    evaluator_section,
    kubeflow_section,
    online_sections,
    sections_module,
    streaming_sections,
)


def sections(kind: Any) -> set[Any]:
    """Returns all models within a model, and itself."""
    found = {kind}
    for field in kind.model_fields.values():
        for inner in re.findall(r"pipeline\.\w+\.(\w+)", str(field.annotation)):
            for module in MODULES:
                model = getattr(module, inner, None)
                if isinstance(model, type) and issubclass(model, BaseModel) and model not in found:
                    found |= sections(model)
    return found


def test_every_key_has_a_description() -> None:
    found: set[Any] = sections(PipelineConfig) | {TrainerParameters, kubeflow_section.Step}
    assert len(found) > 20
    without = [
        f"{model.__name__}.{name}"
        for model in found
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert without == []
