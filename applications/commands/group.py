"""Defines the commands of `python -m applications`, their common options and their output."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from base.console import Failure, PlainConsole
from base.errors import ComponentError
from base.section import ConfigError

_HERE = Path(__file__).resolve().parents[1]
_CONTEXT = {"help_option_names": ["-h", "--help"]}


@click.group(context_settings=_CONTEXT)
def main() -> None:
    """Brings a table of your own to a served model.

    \b
    The whole way, for a file churn.csv with a column Churned:
      python -m applications new churn --from churn.csv --label Churned
      python -m applications schema churn
      python -m applications check churn
      python -m applications try churn
      python local_runner.py --config applications/churn/configs/churn.yaml
      python -m applications score churn --input new.csv --output scores

    docs/your_application.md shows it with what each command prints.
    """


def progress_console() -> PlainConsole:
    """Returns a console for progress, on standard error."""
    return PlainConsole(stderr=True, soft_wrap=True)


def result_console() -> PlainConsole:
    """Returns a console for results, whose lines are not broken."""
    return PlainConsole(soft_wrap=True)


class _Shown(logging.Handler):
    """Shows the progress of Spark jobs; their other output is for the log of a run."""

    def __init__(self, console: PlainConsole):
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if not text.startswith(("spark: ", "Spark job ended")):
            self._console.print(f"  {text}", style="dim")


@contextlib.contextmanager
def shown_progress() -> Iterator[None]:
    """Shows what Spark jobs say while they run."""
    log = logging.getLogger("spark_io.jobs.parent")
    handler, level = _Shown(progress_console()), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def one_line_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns the errors that explain themselves into one line and exit code 1."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except (ConfigError, ComponentError) as error:
            raise Failure(error) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Failure(f"{where}{error.strerror or error}; fix that and run again") from error

    return wrapped


def of_an_application(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command the argument NAME or --config, and --set; it gets `path` and `overrides`."""

    @click.argument("name", required=False)
    @click.option("--config", help="Config file, for an application outside applications/.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key.")
    @functools.wraps(function)
    def wrapped(
        name: str | None, config: str | None, overrides: tuple[str, ...], **named: Any
    ) -> Any:
        path = one_line_errors(config_path)(name, config)
        return function(path=path, overrides=overrides, **named)

    return wrapped


def config_path(name: str | None, config: str | None) -> str:
    """Returns the config of an application.

    Args:
      name: Name of a folder in applications/.
      config: Path of a config; None to find it by the name.

    Raises:
      ConfigError: Both or none is given, or there is no such application.
    """
    if (name is None) == (config is None):
        raise ConfigError("give either NAME, a folder in applications/, or --config FILE")
    if config is not None:
        _make_importable(Path(config))
        return config
    assert name is not None
    names = sorted(path.parents[1].name for path in _HERE.glob("*/configs/*.yaml"))
    files = sorted((_HERE / name / "configs").glob("*.yaml")) if name.isidentifier() else []
    own = [path for path in files if path.stem == name]
    if len(own or files) != 1:
        known = ", ".join(dict.fromkeys(names))
        what = f"{len(files)} configs" if files else "no config"
        raise ConfigError(
            f"there is {what} of an application '{name}' in {_HERE.name}/*/configs/. Known: "
            f"{known}. Give --config FILE"
        )
    return os.path.relpath((own or files)[0])


def run_command(config: str) -> str:
    """Returns the command that runs a pipeline, with the folder of an application elsewhere."""
    folder = Path(config).resolve().parent.parent
    is_ours = folder.parent == _HERE or not (folder / "application.py").is_file()
    path = "" if is_ours else f"PYTHONPATH={shlex.quote(str(folder.parent))} "
    return f"{path}python local_runner.py --config {shlex.quote(config)}"


def _make_importable(config: Path) -> None:
    """Adds the folder of an application outside the project to Python's path.

    A config of `new --into FOLDER` is FOLDER/NAME/configs/NAME.yaml.
    """
    folder = config.resolve().parent.parent
    if (folder / "application.py").is_file() and str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


from applications.commands import check, new, sample_run, schema, score  # noqa: E402, F401 - join
