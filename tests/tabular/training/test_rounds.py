"""Training in rounds: it learns, stops early with the best weights, and survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tabular.errors import TrainingError
from tabular.keras_model import learning_rate
from tabular.parameters import TrainerParameters
from tabular.training.checkpoints import RunFolder
from tabular.training.examples import Examples
from tabular.training.rounds import Rounds
from tests.tabular.training import small_training
from tests.tabular.training.small_training import BATCH, make_model, train, write_examples

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder, "train", 6000, files=2)
    write_examples(folder, "eval", 2000, files=2, seed=1)
    return folder


def loss_of(model, data: Path) -> float:
    evaluation = Examples.matching(
        "eval", [str(data / small_training.EVAL)], small_training.SPEC, "clicked"
    )
    return model.evaluate(evaluation.in_order(256), verbose=0)


def test_it_stops_early_and_keeps_the_best_weights(data: Path, tmp_path: Path) -> None:
    rounds = Rounds(steps_per_round=60, max_rounds=60, patience=2)
    model, losses = train(data, tmp_path, rounds, rate=0.03)
    best = losses.index(min(losses))
    assert best < len(losses) - 1 < 59  # it went on a little, and stopped
    assert len(losses) - 1 - best == 3
    assert loss_of(model, data) == pytest.approx(min(losses), rel=1e-5)
    assert any((tmp_path / "logs").rglob("events.*"))


def test_killed_in_the_middle_of_a_round_it_goes_on_to_the_same_result(
    data: Path, tmp_path: Path
) -> None:
    undisturbed = finish(data, tmp_path / "undisturbed")
    folder = RunFolder(tmp_path / "killed")
    for rounds in (2, 5):
        process = start(data, folder.path)
        while folder.rounds_done() < rounds:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        time.sleep(0.1)  # into the next one
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = folder.losses()
    assert 5 <= len(before) < 12
    resumed = finish(data, folder.path)
    assert resumed[: len(before)] == before  # none of them was trained again
    np.testing.assert_allclose(resumed, undisturbed, rtol=1e-4)


def start(data: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, small_training.__file__, str(data), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finish(data: Path, folder: Path) -> list[float]:
    process = start(data, folder)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return json.loads(output.strip().splitlines()[-1])


def test_killed_after_the_last_round_it_trains_no_more(data: Path, tmp_path: Path) -> None:
    rounds = Rounds(steps_per_round=20, max_rounds=2, patience=5)
    first, losses = train(data, tmp_path, rounds)
    again, same = train(data, tmp_path, rounds)
    assert same == losses
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_loss_that_is_no_number_is_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"is nan after round 1: lower .*learning_rate"):
        train(
            data, tmp_path, Rounds(steps_per_round=20, max_rounds=2, patience=5), rate=float("nan")
        )


def test_a_checkpoint_that_cannot_be_read_is_one_clear_error(data: Path, tmp_path: Path) -> None:
    rounds = Rounds(steps_per_round=20, max_rounds=3, patience=5)
    train(data, tmp_path, Rounds(steps_per_round=20, max_rounds=2, patience=5))
    for file in (tmp_path / "backup" / "chief").glob("*.data-*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TrainingError, match=f"Remove {tmp_path}"):
        train(data, tmp_path, rounds)


def test_rounds_are_parts_of_a_pass() -> None:
    rounds = Rounds.for_rows(100_000, BATCH, epochs=3, rounds_per_epoch=4, patience=2)
    assert rounds == Rounds(steps_per_round=391, max_rounds=12, patience=2)
    assert Rounds.for_rows(10, BATCH, 1, 4, 0).steps_per_round == 1


def test_the_learning_rate_warms_up_and_decays() -> None:
    parameters = TrainerParameters(learning_rate=0.1, warm_up=0.1, rounds_per_epoch=1)
    schedule = learning_rate(parameters, Rounds(steps_per_round=100, max_rounds=2, patience=0))
    rates = [float(schedule(step)) for step in range(250)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.1, rel=1e-3)
    assert rates[105] == pytest.approx(0.055, rel=1e-2)
    assert rates[200:] == pytest.approx([0.01] * 50)
    assert make_model(schedule).optimizer.learning_rate is not None


def test_without_a_warm_up_the_learning_rate_begins_at_its_peak() -> None:
    parameters = TrainerParameters(learning_rate=0.1, warm_up=0)
    schedule = learning_rate(parameters, Rounds(steps_per_round=100, max_rounds=2, patience=0))
    assert float(schedule(0)) == pytest.approx(0.1)
