"""Checks what a config says of its application: the package itself and the parameters it takes.

An application may have a module `parameters` that says what it accepts. All in it is optional:

    EtlParameters      pydantic model of `etl.parameters`, for the application's own etl.py
    TrainerParameters  pydantic model of `trainer.parameters`, and of what `tuner.parameters` tries
    LABEL              feature that the model learns: `evaluator.label`
    PREDICTION         output of the served model: `evaluator.prediction`

Reading a config imports that module, so it imports neither Spark nor TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from base.errors import first_problem
from base.failures import cause
from base.section import ConfigError, check_keys, closest, keys_of
from tabular.training.search_space import corners

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig


def check_application(config: PipelineConfig) -> None:
    """Checks that the application can be imported and accepts its parameters.

    `etl.parameters` are left alone where `etl.function` names another ETL than the application's.

    Raises:
      ConfigError: One line that names the key.
    """
    accepted = declarations(config.application)
    etl = getattr(accepted, "EtlParameters", None)
    if etl is not None and config.etl.function is None:
        _check(etl, "etl.parameters", config.etl.parameters)
    trainer = getattr(accepted, "TrainerParameters", None)
    if trainer is None:
        return
    given = config.trainer.parameters
    _check(trainer, "trainer.parameters", given)
    if config.tuner is not None:
        for values in corners(config.tuner.model_dump()["parameters"]):
            _check(trainer, "tuner.parameters", {**given, **values})


def declarations(application: str) -> ModuleType | None:
    """Returns the module `parameters` of an application, or None if it has none.

    Args:
      application: Dotted path of the package.

    Raises:
      ConfigError: There is no such package, or it fails while it is imported.
    """
    _find_package(application)
    name = f"{application}.parameters"
    if _find(name) is None:
        return None
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _broken(name, error) from error


def _check(model: type[BaseModel], key: str, given: Mapping[str, Any]) -> None:
    """Also a model that ignores unknown keys gets none, unless it says that it takes any."""
    try:
        if model.model_config.get("extra") != "allow":
            check_keys(given, keys_of(model), getattr(model, "REPLACED", None))
        model.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{key}.{first_problem(error)}".replace(".: ", ": ")) from None


def _find_package(application: str) -> None:
    """Raises ConfigError that names the first part of the path which is missing."""
    parts = application.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        spec = _find(name) if parts[end - 1].isidentifier() else None
        if spec is None:
            close = closest(name, _packages_beside(parts[: end - 1]))
            suggestion = f" Did you mean {close}?" if close else ""
            raise ConfigError(f"application: there is no package {name}.{suggestion}")
        if spec.submodule_search_locations is None:
            raise ConfigError(
                f"application: expected a package, a folder of modules. Received: {name}, which is "
                "one module"
            )


def _find(name: str) -> ModuleSpec | None:
    """Imports the packages above `name`, and finds it; ConfigError if one of them fails."""
    try:
        return importlib.util.find_spec(name)
    except Exception as error:
        raise _broken(name.rpartition(".")[0], error) from error


def _broken(module: str, error: Exception) -> ConfigError:
    return ConfigError(f"application: {module} cannot be imported: {cause(error)}")


def _packages_beside(parents: list[str]) -> list[str]:
    """Returns dotted paths of the packages within the package `parents`, or in this folder."""
    if not parents:
        found = pkgutil.iter_modules([str(Path.cwd())])
    else:
        package = importlib.import_module(".".join(parents))
        found = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [name for _, name, is_package in found if is_package]
