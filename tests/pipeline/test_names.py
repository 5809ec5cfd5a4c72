"""Names that neither a section, the application nor the schema knows fail before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from base.errors import first_problem
from base.section import Section
from pipeline.config import ConfigError, load_config

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
CTR = "applications/ctr/configs/ctr.yaml"
MOVIELENS = "applications/movielens/configs/movielens.yaml"
STREAM = "applications/ctr/configs/ctr-stream.yaml"
SCHEMA = "schemas/ctr.pbtxt"
DROPOUT = "trainer.parameters.dropout=0.5"


@pytest.fixture(autouse=True)
def project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def error_of(*overrides: str, config: str = CTR) -> str:
    """Returns what is said of a config, without its file."""
    with pytest.raises(ConfigError) as caught:
        load_config(config, overrides)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{config}: ")
    return said.removeprefix(f"{config}: ")


@pytest.mark.parametrize(
    ("override", "key", "meant", "known"),
    [
        ("spanns.window=3", "spanns", "spans", "name, application"),
        ("extend=ctr.yaml", "extend", "extends", "name, application"),
        ("schema_file=x", "schema_file", "schema", "data_root, schema, sources"),
        ("evaluator.lable=x", "evaluator.lable", "label", "label, prediction"),
        ("serving.canary.request=1", "serving.canary.request", "requests", "requests, candidates"),
        ("sources.clicks.fromat=csv", "sources.clicks.fromat", "format", "kind, options"),
        ("kubeflow.steps.Trainer.cpus=1", "kubeflow.steps.Trainer.cpus", "cpu", "cpu, cpu_limit"),
        ("tuner.parameters.dropout={mix: 0, max: 1}", "tuner.parameters.dropout.mix", "min",
         "min, max, log"),
        ("etl.parameters.max_positoin=3", "etl.parameters.max_positoin",
         "max_position", "max_position, bot_impressions"),
        ("trainer.parameters.epoch=3", "trainer.parameters.epoch", "epochs", "model, deep_layers"),
        ("tuner.parameters={epoch: [1, 2]}", "tuner.parameters.epoch", "epochs", "model, deep_"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_the_closest_and_the_known_ones(
    override: str, key: str, meant: str, known: str
) -> None:
    said = error_of(override)
    name = key.rpartition(".")[2]
    assert said.startswith(f"{key}: unknown key '{name}'. Did you mean {meant}? Known keys: ")
    assert known in said


def test_without_a_close_key_the_known_ones_are_named_alone() -> None:
    said = error_of("spans.zzz=1")
    assert said == "spans.zzz: unknown key 'zzz'. Known keys: window, last"


class Judge(Section):
    REPLACED: ClassVar[dict[str, str]] = {"min_auc": "thresholds: {{auc: {{min: {value}}}}}"}

    thresholds: dict[str, dict[str, float]]


def test_a_key_that_was_replaced_says_by_what_with_the_value_given() -> None:
    with pytest.raises(ValidationError) as caught:
        Judge.model_validate({"min_auc": 0.6})
    assert first_problem(caught.value) == (
        "min_auc: min_auc was replaced by thresholds: {auc: {min: 0.6}}"
    )


FEATURES = [
    ("evaluator.label=clickd", "evaluator.label", "clickd", "clicked"),
    ("evaluator.weight=prise", "evaluator.weight", "prise", "price"),
    ("evaluator.group=userid", "evaluator.group", "userid", "user_id"),
    ("evaluator.slices=[[device], [devise]]", "evaluator.slices", "devise", "device"),
    ("evaluator.thresholds={auc: [{slice: {devise: mobile}, min: 0.5}]}",
     "evaluator.thresholds.auc.slice", "devise", "device"),
    ("evaluator.metrics=[auc, {ndcg: {group: sesion_id}}]", "evaluator.metrics", "sesion_id",
     "session_id"),
    ("split.feature=sesion_id", "split.feature", "sesion_id", "session_id"),
    ("split.time={column: timestamp, at: -6h}", "split.time.column", "timestamp", "timestamp_ms"),
    ("truth.key=impression", "truth.key", "impression", "impression_id"),
    ("serving.request_log.keys=[user]", "serving.request_log.keys", "user", "user_id"),
    *((f"embeddings={{token: item_id, group: user_id, order: timestamp_ms, {key}: {wrong}}}",
       f"embeddings.{key}", wrong, right)
      for key, wrong, right in [("token", "itm_id", "item_id"), ("group", "usr_id", "user_id"),
                                ("order", "timestamp", "timestamp_ms"),
                                ("where", "clickd", "clicked")]),
]  # fmt: skip


@pytest.mark.parametrize(("override", "key", "wrong", "right"), FEATURES)
def test_a_name_that_is_no_feature_is_named_with_the_closest(
    override: str, key: str, wrong: str, right: str
) -> None:
    assert error_of(override) == (
        f"{key}: '{wrong}' is no feature of {SCHEMA}. Did you mean '{right}'?"
    )


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "evaluator.weight=device",
            "evaluator.weight: expected a number. 'device' is a text",
        ),
        (
            "evaluator.metrics=[auc, {map: {group: price, at: 10}}]",
            "evaluator.metrics: expected a text or a whole number. 'price' is a float, of which "
            "each value would be a group",
        ),
        (
            "serving.request_log.keys=[user_id, price]",
            "serving.request_log.keys: expected a text or a whole number. 'price' is a float, "
            "which is written in more than one way and may be NaN",
        ),
        (
            "evaluator.slices=[[price]]",
            "evaluator.slices: expected a text or a whole number. 'price' is a float, of which "
            "each value would be a slice",
        ),
        (
            "evaluator.thresholds={auc: [{slice: {device: mobil}, min: 0.5}]}",
            "evaluator.thresholds.auc.slice: 'mobil' is no value of 'device' in schemas/ctr.pbtxt. "
            "Did you mean 'mobile'?",
        ),
    ],
)
def test_a_feature_of_the_wrong_kind_is_one_line(override: str, line: str) -> None:
    assert error_of(override) == line


def test_a_feature_left_out_of_drift_has_to_be_one() -> None:
    said = error_of("streaming.drift.leave_out=[user_id, hour_sine]", config=STREAM)
    assert said == (
        f"streaming.drift.leave_out: 'hour_sine' is no feature of {SCHEMA}. "
        "Did you mean 'hour_sin'?"
    )


def test_without_a_close_feature_the_next_step_is_named() -> None:
    assert error_of("split.feature=zzz") == (
        f"split.feature: 'zzz' is no feature of {SCHEMA}. "
        "Name one of its features, or add this one."
    )


def test_a_column_that_the_schema_does_not_have_yet_may_divide_the_examples() -> None:
    allowed = "allowed_anomalies=[household_id]"
    config = load_config(CTR, ["split.feature=household_id", allowed])
    assert config.split.feature == "household_id"
    said = error_of("evaluator.group=household_id", allowed)
    assert said.startswith("evaluator.group: 'household_id' is no feature")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("evaluator.prediction=probabilty",
         "evaluator.prediction: the model of applications.ctr has 'probability'. Received: "
         "'probabilty'"),
        ("evaluator.label=user_known",
         "evaluator.label: the model of applications.ctr has 'clicked'. Received: 'user_known'"),
        ("trainer.parameters.dropout=2",
         "trainer.parameters.dropout: Input should be less than 1. Received: 2"),
        ("etl.parameters.max_position=0",
         "etl.parameters.max_position: Input should be greater than or equal to 1. Received: 0"),
        ("tuner={parameters: {dropout: {min: 0, max: 2}}}",
         "tuner.parameters.dropout: Input should be less than 1. Received: 2"),
        ("evaluator.metrics=[auc, decision_recall]",
         "evaluator.metrics: decision_recall needs a decision, such as trainer.decision: {budget: "
         "0.005}"),
        ("trainer.decision={budget: 0.01, threshold: 0.5}",
         "trainer.decision: budget and threshold exclude each other: the budget chooses a "
         "threshold. Received: budget 0.01 and threshold 0.5"),
        ("tuner={parameters: {model: [dcn, dnc]}}",
         "tuner.parameters.model: Input should be 'logistic_regression', 'wide_deep', 'deepfm', "
         "'dcn' or 'din'. Received: dnc"),
        ("application=applications.ctrr",
         "application: there is no package applications.ctrr. Did you mean applications.ctr?"),
        ("application=pipelin.ctr",
         "application: there is no package pipelin. Did you mean pipeline?"),
        ("application=pipeline.config",
         "application: expected a package, a folder of modules. Received: pipeline.config, which "
         "is one module"),
        ("application=applications.ctr.py",
         "application: there is no package applications.ctr.py."),
    ],
)  # fmt: skip
def test_what_the_application_does_not_accept_is_one_line(override: str, line: str) -> None:
    assert error_of(override) == line


def test_costs_of_a_decision_are_needed_to_judge_its_cost() -> None:
    asked = "evaluator.thresholds.decision_cost={max: 1}"
    assert error_of("trainer.decision={budget: 0.01}", asked) == (
        "evaluator.metrics: decision_cost needs trainer.decision.costs, such as {review: 3, "
        "missed: 120}"
    )


def test_a_decision_is_judged_unless_other_metrics_are_named() -> None:
    """MovieLens names no metrics, and CTR does."""
    budget, costs = "trainer.decision.budget=0.05", "trainer.decision.costs={review: 1, missed: 9}"
    metrics = load_config(MOVIELENS, [budget]).evaluator.metrics
    assert metrics[-4:] == ("ece", "decision_precision", "decision_recall", "decision_share")
    assert load_config(MOVIELENS, [budget, costs]).evaluator.metrics[-1] == "decision_cost"
    assert "ece" in load_config(CTR, [budget]).evaluator.metrics[-1]
    assert load_config(MOVIELENS).evaluator.metrics[-1] == "ece"


def test_parameters_of_another_etl_are_not_checked() -> None:
    config = load_config(CTR, ["etl={function: shop.etl.build, parameters: {any: 1}}"])
    assert config.etl.parameters == {"any": 1}


def test_a_schema_that_cannot_be_parsed_is_shown_with_file_and_line(tmp_path: Path) -> None:
    schema = tmp_path / "schema.pbtxt"
    schema.write_text('feature {\n  name: "clicked"\n  typ: INT\n}\n')
    assert error_of(f"schema={schema}") == (
        f'schema: {schema}, line 3: Message type "tensorflow.metadata.v0.Feature" has no field '
        'named "typ".'
    )


def test_reading_a_config_does_not_import_tensorflow() -> None:
    code = f"""
import sys
from pipeline.config import load_config
load_config({CTR!r}, ["{DROPOUT}", "tuner={{parameters: {{dropout: [0.1]}}}}"])
print([name for name in ("tensorflow", "keras_tuner", "tfx") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_group_that_may_be_missing_is_an_error(tmp_path: Path) -> None:
    """TFMA would make one group of all examples without it."""
    schema = tmp_path / "schema.pbtxt"
    whole = Path(SCHEMA).read_text()
    name = whole.index('name: "session_id"')
    rest = whole[name:].replace("presence { min_fraction: 1 min_count: 1 }", "", 1)
    schema.write_text(whole[:name] + rest)
    said = error_of(f"schema={schema}", "evaluator.metrics=[auc, {ndcg: {group: session_id}}]")
    assert said.startswith("evaluator.metrics: 'session_id' defines groups, so every example must")
