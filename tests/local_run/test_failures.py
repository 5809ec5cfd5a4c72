"""A failure is one line: the innermost cause, where it is in our code, and the next step."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from applications.ctr.etl_parameters import EtlParameters
from base.errors import ComponentError
from base.failures import cause_in, one_line

ROOT = Path(__file__).resolve().parents[2]
HERE = "tests/local_run/test_failures.py"
LIBRARY = f"{ROOT}/.venv/lib/python3.10/site-packages"
IN_LOG = "the log has the whole trace"


@pytest.fixture(autouse=True)
def project_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


class GroupOfErrors(Exception):  # noqa: N818 - as ExceptionGroup, which Python 3.10 does not have
    def __init__(self, message: str, exceptions: list[Exception]):
        super().__init__(f"{message} ({len(exceptions)} sub-exceptions)")
        self.exceptions = exceptions


@pytest.mark.unit
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ComponentError("rows do not add up"), "rows do not add up"),
        (
            RuntimeError("bad thing [while running 'Run[Trainer]']\nmore"),
            f"RuntimeError: bad thing; {IN_LOG}",
        ),
        (KeyError(), f"KeyError; {IN_LOG}"),
        (
            OSError(28, "No space left on device", "/x/y"),
            "No space left on device: /x/y; free space and run again",
        ),
        (
            FileNotFoundError(2, "No such file or directory", "/x/y"),
            "No such file or directory: /x/y; fix that and run again",
        ),
        (
            FileExistsError(17, "File exists", "/x", None, "/y"),
            "File exists: /x to /y; fix that and run again",
        ),
        (
            PermissionError(13, "Permission denied", "/x"),
            "Permission denied: /x; check the owner and the mode of that path, and run again",
        ),
        (
            ModuleNotFoundError("No module named 'lightgbm'"),
            "ModuleNotFoundError: No module named 'lightgbm'; add it to requirements/, run "
            "`make setup`, and run again",
        ),
        (
            shutil.Error([("a/x", "b/x", "disk full"), ("a/y", "b/y", "disk full")]),
            f"2 files could not be copied; the first: a/x to b/x: disk full; {IN_LOG}",
        ),
        (
            shutil.Error([("a/x", "b/x", "disk full")]),
            f"1 file could not be copied: a/x to b/x: disk full; {IN_LOG}",
        ),
        (
            RuntimeError([ValueError("no good"), KeyError("b")]),
            f"2 errors; the first: ValueError: no good; {IN_LOG}",
        ),
        (
            GroupOfErrors("two shards failed", [ValueError("no good"), KeyError("b")]),
            "GroupOfErrors: two shards failed (2 sub-exceptions); caused by ValueError: no good; "
            f"{IN_LOG}",
        ),
    ],
)
def test_an_exception_is_its_message_and_the_next_step(error: BaseException, line: str) -> None:
    assert one_line(error) == line


@pytest.mark.unit
def test_a_wrong_parameter_is_named_with_those_there_are() -> None:
    with pytest.raises(ValidationError) as caught:
        EtlParameters(bot_second=2)  # type: ignore[call-arg]
    line = one_line(caught.value)
    assert line.startswith("bot_second: unknown key 'bot_second'. Did you mean bot_seconds?")


def raised(function: Callable[[], object]) -> tuple[BaseException, int]:
    """Returns the exception of a function, and the number of the line below its `def`."""
    try:
        function()
    except Exception as error:
        return error, function.__code__.co_firstlineno + 1
    raise AssertionError("nothing was raised")


@pytest.mark.unit
def test_the_line_of_our_code_is_shown() -> None:
    def parse() -> int:
        return int("many")

    error, line = raised(parse)
    assert one_line(error) == (
        "ValueError: invalid literal for int() with base 10: 'many' "
        f"({HERE}, line {line}); {IN_LOG}"
    )


@pytest.mark.unit
def test_the_innermost_of_our_lines_leads_to_what_a_library_raises() -> None:
    def copy() -> None:
        shutil.copytree("no/such/folder", "no/copy/either")

    error, line = raised(copy)
    assert one_line(error) == (
        f"No such file or directory: no/such/folder ({HERE}, line {line}); fix that and run again"
    )


@pytest.mark.unit
def test_an_exception_is_shown_with_what_it_was_raised_from() -> None:
    def lookup() -> None:
        try:
            raise KeyError("price")
        except KeyError as error:
            raise ValueError("the catalogue lacks a column") from error

    error, line = raised(lookup)
    assert one_line(error) == (
        "ValueError: the catalogue lacks a column; caused by KeyError: 'price' "
        f"({HERE}, line {line + 1}); {IN_LOG}"
    )


@pytest.mark.unit
def test_a_cause_that_the_message_repeats_is_shown_once() -> None:
    def lookup() -> None:
        try:
            raise ValueError("no column price")
        except ValueError as error:
            raise RuntimeError(f"cannot read items: {error}") from error

    line = one_line(raised(lookup)[0])
    assert line.startswith("RuntimeError: cannot read items: no column price (")


@pytest.mark.unit
def test_an_exception_raised_while_another_is_handled_stands_alone() -> None:
    def lookup() -> None:
        try:
            raise KeyError("price")
        except KeyError:
            raise ValueError("the catalogue lacks a column")  # noqa: B904 - the subject of the test

    error, line = raised(lookup)
    assert one_line(error) == (
        f"ValueError: the catalogue lacks a column ({HERE}, line {line + 3}); {IN_LOG}"
    )


@pytest.mark.unit
def test_a_component_that_explains_itself_is_heard_through_wrappers() -> None:
    def wrapped() -> None:
        try:
            raise ComponentError("Java is missing; install it")
        except ComponentError as error:
            raise RuntimeError("beam") from error

    assert one_line(raised(wrapped)[0]) == "Java is missing; install it"


PLAIN = f"""\
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1499, in apache_beam.runners.common.process
  File "{LIBRARY}/apache_beam/transforms/core.py", line 2128, in <lambda>
    wrapper = lambda x: [fn(x)]
  File "{ROOT}/tabular/metrics/scores.py", line 12, in parse
    raise ValueError(f"no good: {{value}}")
ValueError: no good: b
"""
SENT_ON = f"""\

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "{LIBRARY}/apache_beam/runners/worker/sdk_worker.py", line 310, in _execute
    response = task()
  File "apache_beam/runners/common.py", line 1610, in apache_beam.runners.common._reraise_augmented
  File "{ROOT}/tabular/metrics/scores.py", line 12, in parse
    raise ValueError(f"no good: {{value}}")
"""
NO_GOOD = "ValueError: no good: b (tabular/metrics/scores.py, line 12)"

TEXTS = {
    "a worker's exception, raised again with the step": (
        f"{PLAIN}{SENT_ON}ValueError: no good: b [while running 'Parse']\n",
        NO_GOOD,
    ),
    "a worker's exception, raised again as another kind": (
        f"{PLAIN}{SENT_ON}RuntimeError: ValueError: no good: b [while running 'Parse']\n",
        NO_GOOD,
    ),
    "a text within a text": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/local_run/run.py", line 90, in launch\n'
        f"RuntimeError: {PLAIN}",
        NO_GOOD,
    ),
    "the words of a job server before it, and Java's stack behind it": (
        f"Pipeline failed in state FAILED: java.lang.RuntimeException: Error received from SDK "
        f"harness: {PLAIN}\n\tat org.apache.beam.fn.harness(Client.java:180)\n",
        NO_GOOD,
    ),
    "a cause that is stated": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/applications/ctr/etl.py", line 9, in lookup\n'
        f"KeyError: 'b'\n\n"
        f"The above exception was the direct cause of the following exception:\n\n"
        f"{PLAIN}",
        "ValueError: no good: b; caused by KeyError: 'b' (applications/ctr/etl.py, line 9)",
    ),
    "another exception that was being handled": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/applications/ctr/etl.py", line 9, in lookup\n'
        f"KeyError: 'b'\n\n"
        f"During handling of the above exception, another exception occurred:\n\n"
        f"{PLAIN}",
        NO_GOOD,
    ),
    "a component that explains itself": (
        f"{PLAIN}\n"
        f"The above exception was the direct cause of the following exception:\n\n"
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/components/model_canary/executor.py", line 9, in Do\n'
        f"base.errors.ComponentError: no such split; name one of train, eval\n",
        "no such split; name one of train, eval",
    ),
    "an error of the operating system": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/applications/ctr/etl.py", line 9, in lookup\n'
        f"FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/x'\n",
        "No such file or directory: /nowhere/x (applications/ctr/etl.py, line 9)",
    ),
    "files that could not be copied": (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3.10/shutil.py", line 500, in copytree\n'
        "shutil.Error: [('a', 'b', \"[Errno 28] No space left on device: 'b'\")]\n",
        "1 file could not be copied: a to b: [Errno 28] No space left on device: 'b'",
    ),
    "a wrong parameter": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/tabular/entry_points.py", line 43, in run_fn\n'
        f"pydantic_core._pydantic_core.ValidationError: 1 validation error for TrainerParameters\n"
        f"epochs\n"
        f"  Input should be greater than 0 [type=greater_than, input_value=0, input_type=int]\n"
        f"    For further information visit https://errors.pydantic.dev/2.6/v/greater_than\n",
        "ValidationError: 1 validation error for TrainerParameters: epochs: Input should be "
        "greater than 0 (tabular/entry_points.py, line 43)",
    ),
    "a library's error that none of our code led to": (
        f"Traceback (most recent call last):\n"
        f'  File "{ROOT}/local_run/runners.py", line 104, in _run_node\n'
        f'  File "{LIBRARY}/tfx/orchestration/portable/launcher.py", line 480, in launch\n'
        f'  File "{LIBRARY}/tfx/components/evaluator/executor.py", line 200, in Do\n'
        f"ValueError: no model was found\n",
        "ValueError: no model was found",
    ),
    "a group of exceptions": (
        f"  + Exception Group Traceback (most recent call last):\n"
        f'  |   File "{ROOT}/applications/ctr/etl.py", line 3, in all_of_them\n'
        f"  | ExceptionGroup: two failed (2 sub-exceptions)\n"
        f"  +-+---------------- 1 ----------------\n"
        f"    | Traceback (most recent call last):\n"
        f'    |   File "{ROOT}/applications/ctr/etl.py", line 9, in one\n'
        f"    | ValueError: no good: b\n"
        f"    +---------------- 2 ----------------\n"
        f"    | KeyError: 'b'\n"
        f"    +------------------------------------\n",
        "ValueError: no good: b (applications/ctr/etl.py, line 9)",
    ),
}


@pytest.mark.unit
@pytest.mark.parametrize(("text", "line"), TEXTS.values(), ids=TEXTS.keys())
def test_a_traceback_that_a_worker_sends_is_its_innermost_cause(text: str, line: str) -> None:
    assert cause_in(text) == line
    shown = one_line(RuntimeError(text))
    assert shown.startswith(line)
    assert "\n" not in shown


@pytest.mark.unit
def test_a_text_without_a_traceback_has_no_cause() -> None:
    assert cause_in("ValueError: no good") is None


# In a process of its own: pytest's gRPC and threads are no part of this.
PROGRAM = """\
import os, sys
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from base.errors import ComponentError
from base.failures import one_line
from local_run import beam_workers

KINDS = {kind.__name__: kind for kind in (ValueError, ComponentError, FileNotFoundError)}

def broken(kind):
    if kind == "FileNotFoundError":
        open("/nowhere/x")
    raise KINDS[kind]("no good; fix it")

if __name__ == "__main__":
    os.cpu_count = lambda: 2
    options = PipelineOptions(beam_workers.beam_arguments())
    for kind in KINDS:
        try:
            with beam.Pipeline(options=options) as pipeline:
                pipeline | beam.Create([kind] * 10) | beam.Reshuffle() | beam.Map(broken)
        except Exception as error:
            print(one_line(error))
"""


@pytest.mark.component
def test_what_fails_in_a_forked_worker_of_beam_is_shown_as_if_it_failed_here(
    tmp_path: Path,
) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    raising, opening = (
        1 + PROGRAM[: PROGRAM.index(code)].count("\n") for code in ("raise", "open(")
    )
    assert done.stdout == textwrap.dedent(f"""\
        ValueError: no good; fix it ({script}, line {raising}); {IN_LOG}
        no good; fix it
        No such file or directory: /nowhere/x ({script}, line {opening}); fix that and run again
    """)
