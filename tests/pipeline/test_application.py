"""The application contract: what a package must have, and how each mistake is told."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base.section import ConfigError
from pipeline.application import load_application
from pipeline.config import load_config

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
CTR = "applications/ctr/configs/ctr.yaml"
SMALLEST = """
from tabular.feature_set import Categorical, FeatureSet

features = FeatureSet(label="clicked", features=(Categorical("device", vocabulary=10),))


def build_examples(spark, sources, context):
    return sources["impressions"]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The smallest application, outside the checkout."""
    folder = tmp_path / "corner_shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "application.py").write_text(SMALLEST)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(ROOT)
    importlib.invalidate_caches()
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "corner_shop"]:
        del sys.modules[name]


def error_of(shop: Path, code: str) -> str:
    (shop / "application.py").write_text(code)
    with pytest.raises(ConfigError) as caught:
        load_application("corner_shop")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("code", "more", "line"),
    [
        (SMALLEST.replace('label="clicked",', 'label="clicked", task="regression",'),
         ("evaluator={label: clicked, prediction: prediction, thresholds: {rmse: {max: 1}}}",),
         "trainer.decision: a threshold needs the scores of a binary task. corner_shop declares a "
         "regression task. Remove the key"),
        (SMALLEST + 'run_fn = "tabular.entry_points.train"\n', (),
         "trainer.decision: corner_shop has its own run_fn, tabular.entry_points.train, and only "
         "that of tabular/ chooses and exports a decision. Remove the key, or run_fn"),
    ],
)  # fmt: skip
def test_an_application_that_cannot_decide_is_an_error(
    shop: Path, code: str, more: tuple[str, ...], line: str
) -> None:
    (shop / "application.py").write_text(code)
    overrides = ["application=corner_shop", "etl.parameters={}", "trainer.decision.budget=0.1"]
    with pytest.raises(ConfigError) as caught:
        load_config(CTR, [*overrides, *more])
    assert str(caught.value).endswith(line)


def test_the_smallest_application_gets_the_functions_of_tabular(shop: Path) -> None:
    loaded = load_config(CTR, ["application=corner_shop", "etl.parameters={}"]).loaded_application()
    assert loaded.build_examples == "corner_shop.application.build_examples"
    assert loaded.preprocessing_fn == "tabular.preprocessing.preprocessing_fn"
    assert loaded.run_fn == "tabular.entry_points.run_fn"
    assert loaded.tuner_fn == "tabular.entry_points.tuner_fn"
    assert loaded.prediction == "probability"


def test_an_etl_without_parameters_takes_none(shop: Path) -> None:
    with pytest.raises(ConfigError, match=r"etl.parameters.rate: unknown key 'rate'"):
        load_config(CTR, ["application=corner_shop", "etl.parameters={rate: 1}"])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "corner_shop.application must have `features`, a FeatureSet"),
        ("features = {}", "corner_shop.application.features must be a FeatureSet. Received: dict"),
        (SMALLEST.partition("def")[0],
         "corner_shop.application must have build_examples(spark, sources, context)"),
        (SMALLEST.replace("spark, sources, context", "spark, tables"),
         "corner_shop.application.build_examples must take (spark, sources, context). Received: "
         "build_examples(spark, tables)"),
        (SMALLEST + "build_examples = 7\n",
         "corner_shop.application.build_examples must be a function build_examples(spark, sources, "
         "context) or the dotted path of one. Received: int"),
        (SMALLEST + "run_fn = 'nowhere.training.run_fn'\n",
         "corner_shop.application.run_fn: there is no module of 'nowhere.training.run_fn'"),
        (SMALLEST + "build_examples = lambda spark, sources, context: None\n",
         "corner_shop.application.build_examples must be a function of a module, so that every "
         "process can import it. Received: <lambda>"),
        (SMALLEST + "def run_fn(): ...\n",
         "corner_shop.application.run_fn must take (fn_args). Received: run_fn()"),
        (SMALLEST + "parameters = {}\n",
         "corner_shop.application.parameters must be a Parameters. Received: dict"),
        (SMALLEST + "def preprocesing_fn(inputs, custom_config): ...\n",
         "corner_shop.application.preprocesing_fn: no such member. Did you mean "
         "preprocessing_fn?"),
        (SMALLEST.replace("vocabulary=10", "buckets=10"),
         "corner_shop.application: buckets: Unexpected keyword argument. Received: 10"),
        (SMALLEST.replace("Categorical(\"device\", vocabulary=10),", ""),
         "corner_shop.application: a FeatureSet must have at least one feature"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_member_and_its_signature(
    shop: Path, code: str, said: str
) -> None:
    assert error_of(shop, code).startswith(f"application: {said}")


def test_a_package_without_the_module_is_told_what_it_holds(shop: Path) -> None:
    (shop / "application.py").unlink()
    with pytest.raises(ConfigError, match=r"corner_shop has no module application.py. It holds"):
        load_application("corner_shop")


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("\n\n1 / 0\n", "ZeroDivisionError: division by zero"),
        ("\ndef broken(:\n    pass\n", "SyntaxError: invalid syntax"),
    ],
)
def test_an_application_that_fails_is_shown_with_file_and_line(
    shop: Path, code: str, cause: str
) -> None:
    said = error_of(shop, code)
    line = 1 + len(code) - len(code.lstrip("\n"))
    assert said.startswith(f"application: corner_shop.application cannot be imported: {cause}")
    assert f"({shop / 'application.py'}, line {line})" in said


def test_a_feature_that_the_schema_does_not_have_is_named(shop: Path) -> None:
    (shop / "application.py").write_text(SMALLEST.replace('"device"', '"devise"'))
    with pytest.raises(ConfigError, match=r"features: 'devise' is no feature .* mean 'device'"):
        load_config(CTR, ["application=corner_shop", "etl.parameters={}"])


OWN_TRAINING = """
from pydantic import BaseModel
from pipeline.application import Parameters


class Trainer(BaseModel):
    rate: float


parameters = Parameters(trainer=Trainer)
run_fn = "corner_shop.training.run_fn"
"""


def test_an_application_may_train_in_its_own_way_with_parameters_of_its_own(shop: Path) -> None:
    (shop / "application.py").write_text(SMALLEST + OWN_TRAINING)
    (shop / "training.py").write_text("def run_fn(fn_args): ...\n")
    given = ["application=corner_shop", "etl.parameters={}", "evaluator.prediction=score"]
    config = load_config(CTR, [*given, "trainer.parameters={rate: 0.1}"])
    assert config.loaded_application().run_fn == "corner_shop.training.run_fn"
    with pytest.raises(ConfigError, match=r"trainer.parameters.rat: unknown key 'rat'"):
        load_config(CTR, [*given, "trainer.parameters={rat: 0.1}"])
    with pytest.raises(ConfigError, match=r"trainer.parameters.rate: this key is required"):
        load_config(CTR, [*given, "trainer.parameters={}"])


def test_trees_need_metrics_of_the_task_of_the_features(shop: Path) -> None:
    own = SMALLEST.replace('label="clicked"', 'label="clicked", task="regression"')
    (shop / "application.py").write_text(f'{own}\nrun_fn = "corner_shop.application.f"\n')
    given = ["application=corner_shop", "etl.parameters={}", "trainer.baseline=true"]
    with pytest.raises(ConfigError, match=r"trainer.baseline: expected metrics of a regression"):
        load_config(CTR, [*given, "trainer.parameters={}"])


def test_what_the_config_asks_for_and_the_application_does_not_have(shop: Path) -> None:
    stream = "applications/ctr/configs/ctr-stream.yaml"
    with pytest.raises(ConfigError, match=r"sources.past: it needs aggregations in"):
        load_config(stream, ["application=corner_shop", "etl.parameters={}"])
