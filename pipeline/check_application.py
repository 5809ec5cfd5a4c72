"""Checks a config's application and its parameters before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from base.errors import first_problem
from base.section import ConfigError, check_keys, keys_of
from pipeline.application import LoadedApplication, load_application
from pipeline.check_online import check_online
from tabular.metrics.metric_names import DECISION_COST
from tabular.parameters import TrainerParameters, check_network
from tabular.training.search_space import corners

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig


def check_application(config: PipelineConfig) -> LoadedApplication:
    """Loads the application and checks that it accepts its parameters.

    `etl.parameters` are not checked if `etl.function` names another ETL than the application's.

    Raises:
      ConfigError: One line that names the key.
    """
    application = load_application(config.application)
    for problem in application_problems(config, application):
        raise problem
    return application


def application_problems(
    config: PipelineConfig, application: LoadedApplication
) -> Iterator[ConfigError]:
    """Yields every problem that `check_application` looks for in a loaded application."""
    for check in _checks(config, application):
        try:
            check()
        except ConfigError as error:
            yield error


def _checks(config: PipelineConfig, application: LoadedApplication) -> Iterator[Callable[[], Any]]:
    """Yields checks that raise ConfigError; none of them depends on the success of another."""
    accepted = application.parameters
    if config.etl.function is None:
        yield partial(_check, accepted.etl, "etl.parameters", config.etl.parameters)
    given = config.trainer.parameters
    yield partial(_check_trainer, application, "trainer.parameters", given)
    yield partial(_check_decision, config, application)
    yield partial(_check_decision_metrics, config)
    if config.trainer.baseline:
        yield partial(_check_baseline, config, application)
    if config.tuner is not None:
        for values in corners(config.tuner.model_dump()["parameters"]):
            yield partial(_check_trainer, application, "tuner.parameters", {**given, **values})
    if config.streaming is not None:
        prediction = config.evaluator.prediction
        yield partial(check_online, config.streaming, application.features, prediction)
    if config.streaming is not None and config.streaming.hour_tables:
        for member in ("aggregations", "events", "profiles"):
            yield partial(application.member, member, "streaming.hour_tables")


def _check_decision(config: PipelineConfig, application: LoadedApplication) -> None:
    if config.trainer.decision is None:
        return
    task = application.features.task
    if task != "binary":
        raise ConfigError(
            f"trainer.decision: a threshold needs the scores of a binary task. {application.name} "
            f"declares a {task} task. Remove the key"
        )
    if application.prediction is None:
        raise ConfigError(
            f"trainer.decision: {application.name} has its own run_fn, {application.run_fn}, and "
            "only that of tabular/ chooses and exports a decision. Remove the key, or run_fn"
        )


def _check_decision_metrics(config: PipelineConfig) -> None:
    rule = config.trainer.decision
    for name in config.evaluator.measured:
        if name.is_of_decision and rule is None:
            raise ConfigError(
                f"evaluator.metrics: {name} needs a decision, such as trainer.decision: {{budget: "
                "0.005}"
            )
        if name.kind == DECISION_COST and rule is not None and rule.costs is None:
            raise ConfigError(
                f"evaluator.metrics: {name} needs trainer.decision.costs, such as {{review: 3, "
                "missed: 120}"
            )


def _check_trainer(application: LoadedApplication, key: str, given: Mapping[str, Any]) -> None:
    parameters = _check(application.parameters.trainer, key, given)
    if isinstance(parameters, TrainerParameters):
        try:
            check_network(parameters, application.features)
        except ValueError as error:
            raise ConfigError(f"{key}.{error}") from None


def _check_baseline(config: PipelineConfig, application: LoadedApplication) -> None:
    """Checks that trees have the metrics. An own run_fn may have a model of another task."""
    task, wanted = config.evaluator.task, application.features.task
    if task != wanted:
        raise ConfigError(
            f"trainer.baseline: expected metrics of a {wanted} task, which is that of the features "
            f"of {application.name}. Received metrics of a {task} task. Remove the key"
        )


def _check(model: type[BaseModel], key: str, given: Mapping[str, Any]) -> BaseModel:
    """Validates parameters and rejects unknown keys, unless the model allows extra keys."""
    try:
        if model.model_config.get("extra") != "allow":
            check_keys(given, keys_of(model), getattr(model, "REPLACED", None))
        return model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{key}.{first_problem(error)}".replace(".: ", ": ")) from None
