"""Examples that several tests of the training look at."""

from __future__ import annotations

import pytest

from tabular.training.examples import Examples
from tests.tabular.training.small_training import EVAL, SPEC, write_examples


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """4,000 examples of split eval in two files."""
    folder = tmp_path_factory.mktemp("examples")
    write_examples(folder, "eval", 4000, files=2)
    return Examples.matching("eval", [str(folder / EVAL)], SPEC, "clicked")
