"""Defaults that follow from the number of training rows."""

from __future__ import annotations

import pytest

from tabular.parameters import TrainerParameters

pytestmark = pytest.mark.unit
SMALL = {"epochs": 20, "batch_size": 256, "rounds_per_epoch": 1, "patience": 4}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (1, SMALL),
        (49_999, SMALL),
        (50_000, {"epochs": 4, "batch_size": 512}),
        (250_000, {}),
    ],
)
def test_epochs_and_batch_size_follow_the_rows(rows: int, expected: dict[str, int]) -> None:
    parameters = TrainerParameters(model="dcn")
    assert parameters.by_rows(rows) == expected
    found = parameters.for_rows(rows)
    assert {name: getattr(found, name) for name in expected} == expected
    assert (parameters.epochs, parameters.batch_size) == (2, 1024)


@pytest.mark.parametrize("given", [{"epochs": 2}, {"batch_size": 1024}])
def test_a_config_that_sets_one_of_them_gets_no_other_default(given: dict[str, int]) -> None:
    parameters = TrainerParameters(**given)
    assert parameters.by_rows(1000) == {}
    assert parameters.for_rows(1000) == parameters


def test_what_was_given_is_never_replaced() -> None:
    assert TrainerParameters(patience=9).for_rows(1000).patience == 9


def test_a_default_of_an_applications_own_class_counts_as_given() -> None:
    class Own(TrainerParameters):
        epochs: int = 7

    assert Own().for_rows(1000).epochs == 7
