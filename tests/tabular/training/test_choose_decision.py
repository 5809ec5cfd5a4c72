"""The decision of a trained model, on the examples of a whole split."""

from __future__ import annotations

import logging
import types
from typing import Any

import numpy as np
import pytest

from tabular import entry_points
from tabular.entry_points import choose_decision
from tabular.errors import TrainingError
from tabular.feature_set import FeatureSet, Numeric
from tabular.parameters import TrainerParameters
from tabular.training.examples import Examples
from tests.tabular.training.small_training import make_model

pytestmark = pytest.mark.unit

CLICKS = FeatureSet("clicked", (Numeric("x"),))


@pytest.fixture(autouse=True)
def _split_eval(evaluation: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry_points, "examples_of", lambda *_: evaluation)


def asked(rule: dict[str, Any] | None) -> Any:
    return types.SimpleNamespace(custom_config={} if rule is None else {"decision": rule})


def test_the_budget_is_met_on_the_split_and_logged(
    evaluation: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model, parameters = make_model(0.01), TrainerParameters()
    decision = choose_decision(asked({"budget": 0.01}), CLICKS, parameters, model)
    assert decision is not None
    scores = np.concatenate([model(x).numpy()[:, 0] for x, _ in evaluation.in_order(1024)])
    assert (scores >= np.float32(decision.threshold)).sum() == 40  # of 4,000
    assert decision.rows == 4000
    assert "are reviewed, which are 1.000 % of split eval" in caplog.text
    assert choose_decision(asked(None), CLICKS, parameters, model) is None


def test_a_constant_model_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = make_model(0.01)
    model.layers[-1].kernel.assign(model.layers[-1].kernel * 0)
    decision = choose_decision(asked({"budget": 0.01}), CLICKS, TrainerParameters(), model)
    assert decision is not None
    assert decision.chosen.share == 0
    assert "decision: nothing is reviewed: 100.000% of the examples" in caplog.text


def test_scores_that_are_no_numbers_are_an_error() -> None:
    model = make_model(0.01)
    model.layers[-1].bias.assign([np.nan])
    with pytest.raises(TrainingError, match=r"trainer.decision: split eval: scores must be finite"):
        choose_decision(asked({"budget": 0.01}), CLICKS, TrainerParameters(), model)
