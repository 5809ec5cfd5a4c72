"""Runs every check of a config, and collects all problems."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from applications.commands.checks.schema_kinds import kind_problems
from applications.commands.checks.source_files import source_problems
from base.errors import ComponentError
from base.section import ConfigError
from pipeline.application import DEFAULT_PREPROCESSING, LoadedApplication, load_application
from pipeline.check_application import application_problems
from pipeline.config import PipelineConfig, read_config, value_problems
from pipeline.names import name_problems, read_schema
from spark_io.jobs.java import JavaNotFoundError, find_java
from spark_io.jobs.session import find_jars
from spark_io.sources.source_types import JdbcSource, KafkaSource


@dataclasses.dataclass
class Found:
    """The result of all checks.

    Attributes:
      problems: A line for each problem, with the key and the next step.
      notes: What could not be looked at.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def add(self, lines: Iterable[object]) -> None:
        """Adds problems, each once."""
        for line in map(str, lines):
            if line not in self.problems:
                self.problems.append(line)


def look_at(path: str, overrides: tuple[str, ...]) -> Found:
    """Returns all problems of a config. Nothing is run, and no service is asked.

    Raises:
      ConfigError: The file cannot be read at all.
    """
    found = Found()
    found.add(value_problems(path, overrides))
    if found.problems:
        found.notes.append("application, schema and data, until these keys are right")
        return found
    try:
        config = read_config(path, overrides)
    except ConfigError as error:  # a secret in the file
        found.add([error])
        return found
    found.add(_machine_problems(config))
    application = _application(config, found)
    if application is not None:
        found.add(application_problems(config, application))
        found.add(name_problems(config, application))
        found.add(_schema_problems(config, application))
    problems, notes = source_problems(config)
    found.add(problems)
    found.notes += notes
    return found


def _application(config: PipelineConfig, found: Found) -> LoadedApplication | None:
    try:
        return load_application(config.application)
    except ConfigError as error:
        found.add([error])
        found.notes.append("features, parameters and schema, until the application can be loaded")
        return None


def _schema_problems(config: PipelineConfig, application: LoadedApplication) -> Iterator[str]:
    """Yields what the default preprocessing would fail on; one's own may take other kinds."""
    if application.preprocessing_fn != DEFAULT_PREPROCESSING:
        return
    try:
        schema = read_schema(config.schema_file)
    except ConfigError:
        return  # reported with the names
    yield from kind_problems(schema, application.features, config)


def _machine_problems(config: PipelineConfig) -> Iterator[str]:
    """Yields what is missing on this machine."""
    needed: list[Callable[[], Any]] = [
        find_java,
        lambda: find_jars(config.spark.jars),
        config.metadata_connection.password,
    ]
    for check in needed:
        try:
            check()
        except (ComponentError, ConfigError, JavaNotFoundError) as error:
            yield str(error)
    for name, source in config.sources.items():
        if isinstance(source, JdbcSource | KafkaSource):
            for option, variable in source.secrets().items():
                if variable not in os.environ:
                    yield (
                        f"sources.{name}: the environment variable {variable}, which holds "
                        f"{option}, is not set; export it"
                    )
    for key in ("run_root", "serving_root"):
        folder = Path(getattr(config, key))
        place = next(one for one in (folder, *folder.resolve().parents) if one.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            yield f"{key}: cannot write to {folder}; choose another folder"
