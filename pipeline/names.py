"""Checks the features of the schema, and the model's label and output, that a config names.

A wrong name would otherwise fail only when the step that needs it starts, minutes into a run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from base.section import ConfigError, closest
from pipeline.application import LoadedApplication
from tabular.feature_set import TaskName

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

NamedFeatures = Iterator[tuple[str, str | None]]  # key, and the feature that it names, if any


def check_names(config: PipelineConfig, application: LoadedApplication) -> None:
    """Checks every feature that the config or the application names, and the model's output.

    `allowed_anomalies` is not checked, because it may have columns that the schema lacks. A feature
    that is read from the examples may be one of them.

    Raises:
      ConfigError: A name is unknown. The message has the key, the name, and a similar known name.
    """
    for problem in name_problems(config, application):
        raise problem


def name_problems(config: PipelineConfig, application: LoadedApplication) -> Iterator[ConfigError]:
    """Yields every problem that `check_names` looks for, instead of raising the first one."""
    try:
        schema = read_schema(config.schema_file)
    except ConfigError as error:
        yield error
        return
    for check in _checks(config, application, schema):
        try:
            check()
        except ConfigError as error:
            yield error


def _checks(
    config: PipelineConfig, application: LoadedApplication, schema: schema_pb2.Schema
) -> Iterator[Callable[[], None]]:
    """Yields checks that raise ConfigError; none of them depends on the success of another."""
    features = [feature.name for feature in schema.feature]
    for key, name in _features_of_the_schema(config):
        yield partial(_check_feature, config, key, name, features)
    yield from _kind_checks(config, schema)
    for key, name in _features_of_the_examples(config):
        yield partial(_check_feature, config, key, name, [*features, *config.allowed_anomalies])
    for name in application.features.columns:
        where = f"application {config.application}, features"
        yield partial(_check_feature, config, where, name, features)
    evaluator = config.evaluator
    label = application.features.label
    yield partial(_check_same, "evaluator.label", evaluator.label, label, application)
    if application.prediction is not None:
        key, expected = "evaluator.prediction", application.prediction
        yield partial(_check_same, key, evaluator.prediction, expected, application)
        yield partial(_check_task, evaluator.task, application)
        yield partial(_check_numbers, config, application, schema)
        yield partial(_check_classes, config, application)


def _check_task(task: TaskName, application: LoadedApplication) -> None:
    wanted = application.features.task
    if task != wanted:
        raise ConfigError(
            f"evaluator.metrics: expected metrics of a {wanted} task, which is that of "
            f"{application.name}. Received metrics of a {task} task"
        )


def _check_classes(config: PipelineConfig, application: LoadedApplication) -> None:
    """Checks the classes that metrics name, and their number."""
    classes = application.features.classes
    for name in config.evaluator.measured:
        if name.of is not None and name.of not in classes:
            close = closest(name.of, classes)
            advice = f"Did you mean '{close}'?" if close else f"Classes: {', '.join(classes)}"
            raise ConfigError(
                f"evaluator.metrics: {name}: '{name.of}' is no class of {application.name}. "
                f"{advice}"
            )
        if name.kind == "top_k_accuracy" and (name.number or 0) >= len(classes):
            raise ConfigError(
                f"evaluator.metrics: {name}: expected fewer classes than the {len(classes)} of "
                f"{application.name}, of which it is always 1"
            )


def _check_numbers(
    config: PipelineConfig, application: LoadedApplication, schema: schema_pb2.Schema
) -> None:
    """Checks the types of the label and the weight, and that training and Evaluator agree."""
    features, evaluator = application.features, config.evaluator
    texts = {feature.name for feature in schema.feature if feature.type == schema_pb2.BYTES}
    for kind, name in (("label", features.label), ("weight", features.weight)):
        if name in texts:
            raise ConfigError(
                f"application {config.application}, features: the {kind} must be a number. "
                f"'{name}' is a text in {config.schema_file}"
            )
    if features.weight is not None and evaluator.weight != features.weight:
        raise ConfigError(
            f"evaluator.weight: the model of {application.name} learns with the weight "
            f"'{features.weight}', and must be judged with it. Received: {evaluator.weight}"
        )


def read_schema(path: str) -> schema_pb2.Schema:
    """Reads a curated schema.

    Args:
      path: File with a tensorflow_metadata Schema in protobuf's text format.

    Raises:
      ConfigError: The file cannot be read or parsed. The message has the line, if it is known.
    """
    try:
        text = Path(path).read_text("utf-8")
        schema = text_format.Parse(text, schema_pb2.Schema())
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            f"schema: there is no file {path}. Write one, or let `python -m applications schema` "
            "make it from the data"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"schema: cannot read {path}: {error}") from None
    except text_format.ParseError as error:
        line, problem = error.GetLine(), str(error).rpartition(" : ")[2]
        where = path if line is None else f"{path}, line {line}"
        raise ConfigError(f"schema: {where}: {problem}") from None
    return schema


def _kind_checks(config: PipelineConfig, schema: schema_pb2.Schema) -> Iterator[Callable[[], None]]:
    """Yields checks that the weight is a number, and that no slice, group or key is a float.

    Names that the schema does not have are left to another check.
    """
    kinds = {feature.name: feature.type for feature in schema.feature}
    evaluator = config.evaluator
    for feature in schema.feature:
        if feature.name in evaluator.grouped:
            yield partial(_check_group, config, feature)
    if evaluator.weight is not None and evaluator.weight in kinds:
        yield partial(_check_weight, evaluator.weight, kinds[evaluator.weight])
    slices = [("evaluator.slices", name) for names in evaluator.slices for name in names]
    for metric, bounds in evaluator.thresholds.items():
        key = f"evaluator.thresholds.{metric}.slice"
        for bound in bounds:
            slices += [(key, name) for name in bound.slice]
            for name, value in bound.slice.items():
                if name in kinds:
                    known = _known_values(schema, name)
                    yield partial(_check_value, config, key, name, value, known)
    log = config.serving.request_log
    for name in () if log is None else log.keys:
        if name in kinds:
            yield partial(_check_log_key, name, kinds[name])
    for key, name in slices:
        if name in kinds:
            yield partial(_check_slice, key, name, kinds[name])


def _check_weight(name: str, kind: int) -> None:
    if kind == schema_pb2.BYTES:
        raise ConfigError(f"evaluator.weight: expected a number. '{name}' is a text")


def _check_log_key(name: str, kind: int) -> None:
    if kind == schema_pb2.FLOAT:
        raise ConfigError(
            f"serving.request_log.keys: expected a text or a whole number. '{name}' is a "
            "float, which is written in more than one way and may be NaN"
        )


def _check_slice(key: str, name: str, kind: int) -> None:
    if kind == schema_pb2.FLOAT:
        raise ConfigError(
            f"{key}: expected a text or a whole number. '{name}' is a float, of which each "
            "value would be a slice"
        )


def _check_group(config: PipelineConfig, feature: schema_pb2.Feature) -> None:
    """Checks a feature that defines groups. TFMA makes one group of all examples without it."""
    key = "evaluator.group" if feature.name == config.evaluator.group else "evaluator.metrics"
    if feature.type == schema_pb2.FLOAT:
        raise ConfigError(
            f"{key}: expected a text or a whole number. '{feature.name}' is a float, of which each "
            "value would be a group"
        )
    if feature.presence.min_fraction < 1:
        raise ConfigError(
            f"{key}: '{feature.name}' defines groups, so every example must have it. Set presence "
            f"{{ min_fraction: 1 }} in {config.schema_file}"
        )


def _known_values(schema: schema_pb2.Schema, name: str) -> Collection[str]:
    """Returns the values in a text feature's domain; empty if the schema has no domain."""
    (feature,) = (one for one in schema.feature if one.name == name)
    if feature.HasField("string_domain"):
        return [*feature.string_domain.value]
    domains = {domain.name: domain for domain in schema.string_domain}
    return [*domains[feature.domain].value] if feature.domain in domains else []


def _check_value(
    config: PipelineConfig, key: str, name: str, value: str | int, known: Collection[str]
) -> None:
    if not known or str(value) in known:
        return
    close = closest(str(value), known)
    advice = f"Did you mean '{close}'?" if close else f"Known values: {', '.join(known)}"
    raise ConfigError(f"{key}: '{value}' is no value of '{name}' in {config.schema_file}. {advice}")


def _features_of_the_schema(config: PipelineConfig) -> NamedFeatures:
    """Yields features that are read by the schema: by Evaluator, server and drift check."""
    evaluator = config.evaluator
    yield "evaluator.label", evaluator.label
    yield "evaluator.weight", evaluator.weight
    yield "evaluator.group", evaluator.group
    for name in evaluator.grouped:
        yield "evaluator.metrics", name
    for names in evaluator.slices:
        for name in names:
            yield "evaluator.slices", name
    for metric, bounds in evaluator.thresholds.items():
        for bound in bounds:
            for name in bound.slice:
                yield f"evaluator.thresholds.{metric}.slice", name
    log = config.serving.request_log
    if log is not None:
        for name in log.keys:
            yield "serving.request_log.keys", name
    if config.streaming is not None:
        for name in config.streaming.drift.leave_out:
            yield "streaming.drift.leave_out", name


def _features_of_the_examples(config: PipelineConfig) -> NamedFeatures:
    """Yields features that are read from the examples, which have every column of the ETL."""
    time = config.split.time
    yield "split.feature", config.split.feature
    yield "split.time.column", time.column if time else None
    if config.embeddings is not None:
        for key in ("token", "group", "order", "where"):
            yield f"embeddings.{key}", getattr(config.embeddings, key)
    if config.truth is not None:
        yield "truth.key", config.truth.key


def _check_feature(
    config: PipelineConfig, key: str, name: str | None, known: Collection[str]
) -> None:
    if name is None or name in known:
        return
    close = closest(name, known)
    advice = f"Did you mean '{close}'?" if close else "Name one of its features, or add this one."
    raise ConfigError(f"{key}: '{name}' is no feature of {config.schema_file}. {advice}")


def _check_same(key: str, given: str, expected: str, application: LoadedApplication) -> None:
    if given != expected:
        raise ConfigError(
            f"{key}: the model of {application.name} has '{expected}'. Received: '{given}'"
        )
