"""Which of Beam's runners a step gets."""

from __future__ import annotations

import pytest
from apache_beam.runners import create_runner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.beam_arguments import LOCAL_RUNNER, ONE_PROCESS, with_runner

pytestmark = pytest.mark.unit


def test_a_step_gets_beams_runner_for_one_machine() -> None:
    assert with_runner(ONE_PROCESS) == [f"--runner={LOCAL_RUNNER}", *ONE_PROCESS]
    assert type(create_runner(LOCAL_RUNNER)) is FnApiRunner


@pytest.mark.parametrize("named", [["--runner=PortableRunner"], ["--runner", "DataflowRunner"]])
def test_a_runner_that_is_named_is_the_one(named: list[str]) -> None:
    assert with_runner([*named, "--region=x"]) == [*named, "--region=x"]
