"""Reads and checks a YAML config once, and returns it as typed objects.

Paths are relative to the folder in which a command starts, the project's root. Unknown keys, wrong
types, missing files, and names that are unknown to the application or the schema are one-line
errors with the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from base.errors import REPLACED_KEY, UNKNOWN_KEY, all_problems, first_problem
from base.redaction import hide_variables, variables_named
from base.secrets import find_secret
from base.section import ConfigError, Section
from metadata.connection import Connection
from pipeline.application import LoadedApplication, load_application
from pipeline.check_application import check_application
from pipeline.evaluator_section import Evaluator
from pipeline.kubeflow_section import Kubeflow
from pipeline.names import check_names
from pipeline.sections import (
    Embeddings,
    Etl,
    Incremental,
    Metadata,
    Serving,
    Source,
    Spans,
    Spark,
    Split,
    Statistics,
    Trainer,
    Truth,
    Tuner,
)
from pipeline.stream_sources import expand
from pipeline.streaming_sections import Streaming
from spark_io.sources.source_types import FileSource

EXTENDS = "extends"
_SOURCES = "sources"
# Keys that look like secrets: a column's name, and the name of a Kubernetes Secret.
_NO_SECRETS = ("embeddings.token", "kubeflow.secrets.secret")


class PipelineConfig(Section):
    """The config of a pipeline."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9-]*$", description="name of the pipeline: a-z, 0-9 and hyphens"
    )
    application: str = Field(description="dotted path of a package; see pipeline/application.py")
    data_root: str = Field(description="folder that the sources' paths are relative to")
    schema_file: str = Field(alias="schema", description="the curated schema")
    sources: dict[str, Source] = Field(
        min_length=1, description="name -> source; the first one decides the spans"
    )
    evaluator: Evaluator = Field(description="what a model must reach")
    run_root: str = Field("runs", description="folder of artifacts, logs and summaries")
    serving_root: str = Field("serving_models", description="folder that models are pushed to")
    truth: Truth | None = Field(None, description="true probabilities of simulated data")
    sample_data: dict[str, Any] | None = Field(
        None, description="options of `python -m APPLICATION.sample_data`; null: data of your own"
    )
    spans: Spans = Field(Spans(), description="which spans a run reads")
    split: Split = Field(Split(), description="how examples are divided")
    etl: Etl = Field(Etl(), description="what Spark makes of the sources")
    spark: Spark = Field(Spark(), description="where the ETL runs")
    statistics: Statistics = Field(Statistics(), description="what StatisticsGen looks at")
    embeddings: Embeddings | None = Field(None, description="vectors by Word2Vec; null for none")
    incremental: Incremental | None = Field(None, description="runs that read one new span each")
    trainer: Trainer = Field(Trainer(), description="how the model is trained")
    tuner: Tuner | None = Field(None, description="a search for parameters; null for none")
    serving: Serving = Field(Serving(), description="how a blessed model becomes what is served")
    streaming: Streaming | None = Field(None, description="events to hourly spans")
    metadata: Metadata = Field(Metadata(), description="where ML Metadata lives")
    kubeflow: Kubeflow = Field(Kubeflow(), description="where the compiled pipeline runs")
    allowed_anomalies: list[str] = Field(
        default_factory=list, description="features whose anomalies do not stop a run"
    )
    report: bool = Field(
        default=True, description="whether each run writes report.html, five megabytes"
    )
    beam_pipeline_args: list[str] | None = Field(
        default=None,
        description="options of Beam; by default one process in a container, and one for each core "
        "on this machine",
    )

    @classmethod
    def known_keys(cls) -> list[str]:
        """Returns the keys of a file, including `extends`, which load_config removes first."""
        return [*super().known_keys(), EXTENDS]

    @model_validator(mode="after")
    def _decision_is_judged(self) -> PipelineConfig:
        if self.trainer.decision is None:
            return self
        judged = self.evaluator.with_decision(self.trainer.decision)
        return self.model_copy(update={"evaluator": judged})

    @property
    def run_folder(self) -> Path:
        return Path(self.run_root) / self.name

    @property
    def metadata_path(self) -> Path:
        return Path(self.metadata.path or self.run_folder / "metadata.sqlite")

    @property
    def metadata_connection(self) -> Connection:
        """Connection to the pipeline's ML Metadata."""
        return Connection(**{**self.metadata.model_dump(), "path": self.metadata_path})

    @property
    def serving_folder(self) -> Path:
        return Path(self.serving_root) / self.name

    @property
    def warnings(self) -> list[str]:
        """Lines about weak points of a valid config."""
        if self.split.judged == "test":
            return []
        return [
            "there is no split 'test': the model is judged on split 'eval', which stopped its "
            "training and calibrated it, and looks better than it is; add one, such as "
            "split: {buckets: {train: 4, eval: 1, test: 1}}"
        ]

    def loaded_application(self) -> LoadedApplication:
        """Returns the application that the config names."""
        return load_application(self.application)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a config.

    Args:
      path: YAML file. With `extends`, it overrides the file of that name in the same folder.
      overrides: Entries `dotted.key=value`, with the value in YAML.

    Raises:
      ConfigError: The config is invalid. The message is one line with the file and the key.
    """
    config = read_config(path, overrides)
    try:
        check_names(config, check_application(config))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error.__cause__
    return config


def read_config(path: str | Path, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Reads a config without looking at its application and schema, which may be missing.

    The arguments are those of `load_config`.

    Raises:
      ConfigError: The config is invalid. If several values are, the message is that of the first.
    """
    file = Path(path)
    content = _content(file, overrides)
    try:
        config = PipelineConfig.model_validate(expand(content))
    except ValidationError as error:
        raise ConfigError(f"{file}: {first_problem(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error.__cause__
    hide_variables(variables_named(content))
    if (found := find_secret(content, _NO_SECRETS)) is not None:
        key, what = found
        raise ConfigError(
            f"{file}: {key}: {what}. A config is stored and logged: put the secret into an "
            "environment variable, and its name here (password_env, options_env, ...)"
        )
    return config


def value_problems(path: str | Path, overrides: Iterable[str] = ()) -> list[str]:
    """Returns a line for each key or value that `read_config` would reject.

    Raises:
      ConfigError: The file cannot be read.
    """
    content = _content(Path(path), overrides)
    found: list[str] = []
    while True:
        try:
            PipelineConfig.model_validate(expand(content))
        except ConfigError as error:
            return [*found, str(error)]
        except ValidationError as error:
            found += [line for line in all_problems(error) if line not in found]
            # A section with a wrong key is not looked at any further, so it is read without it.
            if _without_wrong_keys(content, error):
                continue
        return found


def _without_wrong_keys(content: dict[str, Any], error: ValidationError) -> bool:
    """Removes the keys that `error` calls wrong; returns whether there was one."""
    removed = False
    for problem in error.errors():
        if problem["type"] not in (UNKNOWN_KEY, REPLACED_KEY):
            continue
        *parents, last = problem["loc"]
        section: Any = content
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if isinstance(section, dict) and last in section:
            del section[last]
            removed = True
    return removed


def _content(file: Path, overrides: Iterable[str]) -> dict[str, Any]:
    """Returns the keys of a file, and of those that it extends, with overrides."""
    content = _read(file, ())
    for override in overrides:
        _override(content, override)
    return content


def _read(file: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    """Returns a file's keys, merged over those of the file that it extends."""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no config {file}; see applications/*/configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read config {file}: {error}") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        problem = getattr(error, "problem", None) or "no valid YAML"
        raise ConfigError(f"{file}{where}: {problem}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{file} holds no keys, or keys that are no text")
    base = content.pop(EXTENDS, None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise ConfigError(f"{file}: {EXTENDS}: it is the name of a file beside this one")
    if file.resolve() in extended_by:
        raise ConfigError(f"{file}: {EXTENDS}: it extends itself, by way of {base}")
    return _merged(_read(file.parent / base, (*extended_by, file.resolve())), content)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merges sections key by key. Any other value, including null, replaces the earlier one.

    A source of another kind, such as a table in place of a file, replaces the earlier one, too,
    whose keys it does not have.
    """
    sources, others = base.get(_SOURCES), over.get(_SOURCES)
    if isinstance(sources, dict) and isinstance(others, dict):
        kept = {n: one for n, one in sources.items() if not _of_another_kind(one, others.get(n))}
        base = {**base, _SOURCES: {**dict.fromkeys(sources), **kept}}
    return _by_key(base, over)


def _of_another_kind(source: Any, over: Any) -> bool:
    if not (isinstance(source, dict) and isinstance(over, dict)) or "kind" not in over:
        return False
    return bool(over["kind"] != source.get("kind", FileSource.kind))


def _by_key(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _by_key(base[key], over[key])
        for key in base.keys() & over.keys()
        if isinstance(base[key], dict) and isinstance(over[key], dict)
    }
    return {**base, **over, **both}


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"--set takes key=value, such as trainer.parameters.epochs=2: '{override}'"
        )
    *parents, last = key.split(".")
    section: Any = content
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {key}: '{parent}' is a value, not a section")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: the value is no valid YAML: {text}") from None
