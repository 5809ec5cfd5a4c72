"""The Trainer's output `decision`: there only if asked for, and a copy of the model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfx.types import Artifact, artifact_utils, channel_utils, standard_artifacts

from base.errors import ComponentError
from components.trainer.artifacts import Decision
from components.trainer.component import Trainer
from components.trainer.decision_output import publish_decision
from tabular.decision import choose
from tabular.decision_rule import DecisionRule
from tabular.metrics.scores import ScoreCounts

pytestmark = pytest.mark.unit


def outputs(folder: Path) -> dict[str, list[Artifact]]:
    made: dict[str, Artifact] = {"model": standard_artifacts.Model(), "decision": Decision()}
    for name, artifact in made.items():
        artifact.uri = str(folder / name)
    (folder / "decision").mkdir()
    return {name: [artifact] for name, artifact in made.items()}


def write(folder: Path, rule: DecisionRule) -> dict[str, Any]:
    """Writes a decision beside an exported model, about a model that gives every row one score."""
    counts = ScoreCounts.count(np.array([0, 1, 0, 0]), np.full(4, 0.25))
    content = choose(rule, counts).to_json()
    beside = folder / "model/Format-Serving/assets.extra/decision.json"
    beside.parent.mkdir(parents=True)
    beside.write_text(json.dumps(content))
    return content


def test_a_trainer_has_the_output_only_with_a_decision() -> None:
    examples = standard_artifacts.Examples()
    examples.split_names = artifact_utils.encode_split_names(["train", "eval"])
    given: dict[str, Any] = {"run_fn": "a.b", "examples": channel_utils.as_channel([examples])}
    assert Trainer(decision=True, **given).outputs["decision"].type is Decision
    assert Trainer(**given).outputs.keys() == {"model", "model_run"}


def test_the_artifact_has_the_file_and_its_numbers(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    content = write(tmp_path, DecisionRule(budget=0.5))
    publish_decision(made)
    assert json.loads((tmp_path / "decision/decision.json").read_text()) == content
    (artifact,) = made["decision"]
    numbers = {
        name: artifact.get_string_custom_property(name)
        for name in ("threshold", "budget", "share", "recall")
    }
    assert numbers == {"threshold": "0.625", "budget": "0.5", "share": "0.0", "recall": "0.0"}
    assert not artifact.has_custom_property("precision")  # of no reviewed row
    assert not artifact.has_custom_property("cost")
    warnings = artifact.get_string_custom_property("warnings")
    assert warnings.startswith("nothing is reviewed: 100.000% of the examples")


def test_a_run_fn_that_wrote_none_is_an_error(tmp_path: Path) -> None:
    made = outputs(tmp_path)
    with pytest.raises(ComponentError, match=r"run_fn wrote no assets.extra/decision.json beside"):
        publish_decision(made)
    publish_decision({"model": made["model"]})  # it is not asked for
