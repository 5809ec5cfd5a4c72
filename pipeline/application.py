"""The contract between the pipeline and an application: the members of its module `application`.

The config's key `application` names a package, in this project or anywhere on Python's path. A
small one has two modules and a config:

    shop/features.py      FEATURES = FeatureSet(...)
    shop/application.py   features = FEATURES
                          def build_examples(spark, sources, context): ...

`load_application` imports and checks the module when a config is read, so it must be cheap to
import. It may import Spark but not TensorFlow. A function that needs TensorFlow is given by its
dotted path, such as run_fn = "shop.training.run_fn".
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from base.errors import first_problem
from base.failures import cause
from base.section import ConfigError, Section, closest
from features.groups import FeatureGroup
from tabular.feature_set import FeatureSet
from tabular.parameters import TrainerParameters

MODULE = "application"  # within the package


class NoParameters(Section):
    """Parameters of an ETL that takes none."""


@dataclasses.dataclass(frozen=True)
class Parameters:
    """The parameters that a config may set in an application.

    Attributes:
      etl: Pydantic model of `etl.parameters`, preferably derived from base.section.Section.
      trainer: Pydantic model of `trainer.parameters` and of the trials of `tuner.parameters`.
    """

    etl: type[BaseModel] = NoParameters
    trainer: type[BaseModel] = TrainerParameters


class Application(Protocol):
    """The required members of an application's module; OPTIONAL has the others."""

    features: FeatureSet

    @staticmethod
    def build_examples(spark: Any, sources: Any, context: Any) -> Any:
        """Turns the sources into one row per example; this is the ETL.

        Args:
          spark: The SparkSession.
          sources: Name in the config's `sources` -> DataFrame.
          context: spark_io.examples.rows.EtlContext, such as `parameters`, `spans`, and `labelled`,
            which is false for rows to score.

        Returns:
          DataFrame with the columns of the FeatureSet, and with the rejected and dropped rows and
          their reasons; see spark_io/examples/rows.py.
        """


# Optional member -> its arguments; none for a member that is not a function.
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "parameters": (),
    "aggregations": (),
    "preprocessing_fn": ("inputs", "custom_config"),
    "run_fn": ("fn_args",),
    "tuner_fn": ("fn_args",),
    "events": ("spark", "sources", "context"),
    "profiles": ("sources",),
    "events_of_request": ("line", "key"),
}
_BUILD_EXAMPLES = ("spark", "sources", "context")
DEFAULT_PREPROCESSING = "tabular.preprocessing.preprocessing_fn"
_DEFAULTS = {
    "preprocessing_fn": DEFAULT_PREPROCESSING,
    "run_fn": "tabular.entry_points.run_fn",
    "tuner_fn": "tabular.entry_points.tuner_fn",
}


@dataclasses.dataclass(frozen=True)
class LoadedApplication:
    """An application whose members were checked.

    Attributes:
      name: Dotted path of the package.
      features: FeatureSet of the application.
      parameters: Parameters that a config may set.
      build_examples, preprocessing_fn, run_fn, tuner_fn: Dotted paths for TFX; by default the
        functions of tabular/.
      prediction: Name of the served model's output; None if the application has its own run_fn,
        which may use any name.
    """

    name: str
    features: FeatureSet
    parameters: Parameters
    build_examples: str
    preprocessing_fn: str
    run_fn: str
    tuner_fn: str
    prediction: str | None
    _module: ModuleType = dataclasses.field(repr=False)

    def has(self, name: str) -> bool:
        """Returns whether the application has an optional member, a name in OPTIONAL."""
        if name not in OPTIONAL:
            raise ValueError(f"no application has a member {name}")
        return hasattr(self._module, name)

    def member(self, name: str, needed_for: str) -> Any:
        """Returns an optional member.

        Args:
          name: Name in OPTIONAL.
          needed_for: Key of the config that needs the member, for the error.

        Raises:
          ConfigError: The application does not have the member.
        """
        if name not in OPTIONAL:
            raise ValueError(f"no application has a member {name}")
        found = getattr(self._module, name, None)
        if found is None:
            takes = f"({', '.join(OPTIONAL[name])})" if OPTIONAL[name] else ""
            raise ConfigError(
                f"{needed_for}: it needs {name}{takes} in {self._module.__name__}, which is not "
                "there"
            )
        return found


def load_application(name: str) -> LoadedApplication:
    """Imports an application's module, and checks its members.

    Args:
      name: Dotted path of the package.

    Raises:
      ConfigError: There is no such package or module, it fails while it is imported, or a member is
        missing or is not what the contract says. One line, with the member and its signature.
    """
    _find_package(name)
    path = f"{name}.{MODULE}"
    if _find(path) is None:
        raise ConfigError(
            f"application: {name} has no module {MODULE}.py. It holds `features`, a FeatureSet, "
            f"and build_examples({', '.join(_BUILD_EXAMPLES)})"
        )
    module = _imported(path)
    _check_spelling(module)
    features = _instance(module, "features", FeatureSet)
    parameters = (
        _instance(module, "parameters", Parameters)
        if hasattr(module, "parameters")
        else Parameters()
    )
    _check_aggregations(module)
    paths = {"build_examples": _function(module, "build_examples", _BUILD_EXAMPLES)}
    for member, arguments in OPTIONAL.items():
        if arguments and hasattr(module, member):
            paths[member] = _function(module, member, arguments)
    return LoadedApplication(
        name=name,
        features=features,
        parameters=parameters,
        build_examples=paths["build_examples"],
        preprocessing_fn=paths.get("preprocessing_fn", _DEFAULTS["preprocessing_fn"]),
        run_fn=paths.get("run_fn", _DEFAULTS["run_fn"]),
        tuner_fn=paths.get("tuner_fn", _DEFAULTS["tuner_fn"]),
        prediction=None if "run_fn" in paths else features.prediction,
        _module=module,
    )


def _instance(module: ModuleType, member: str, kind: type[Any]) -> Any:
    if not hasattr(module, member):
        raise ConfigError(f"application: {module.__name__} must have `{member}`, a {kind.__name__}")
    found = getattr(module, member)
    if not isinstance(found, kind):
        raise ConfigError(
            f"application: {module.__name__}.{member} must be a {kind.__name__}. Received: "
            f"{type(found).__name__}"
        )
    return found


def _check_aggregations(module: ModuleType) -> None:
    found = getattr(module, "aggregations", ())
    listed = isinstance(found, tuple | list)
    others = [one for one in found if not isinstance(one, FeatureGroup)] if listed else [found]
    if others:
        raise ConfigError(
            f"application: {module.__name__}.aggregations must be a tuple of FeatureGroups. "
            f"Received: {type(others[0]).__name__}"
        )


def _function(module: ModuleType, member: str, arguments: Sequence[str]) -> str:
    """Returns the dotted path of a function's own module and name, so that its code is known."""
    where, takes = f"{module.__name__}.{member}", f"({', '.join(arguments)})"
    found: Any = getattr(module, member, None)
    if found is None:
        raise ConfigError(f"application: {module.__name__} must have {member}{takes}")
    if isinstance(found, str):
        if _find(found.rpartition(".")[0]) is None:
            raise ConfigError(f"application: {where}: there is no module of '{found}'")
        return found
    if not callable(found):
        raise ConfigError(
            f"application: {where} must be a function {member}{takes} or the dotted path of one. "
            f"Received: {type(found).__name__}"
        )
    _check_signature(found, where, member, arguments)
    return f"{found.__module__}.{found.__qualname__}"


def _check_signature(
    function: Callable[..., Any], where: str, member: str, arguments: Sequence[str]
) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ConfigError(
            f"application: {where} must take ({', '.join(arguments)}). Received: "
            f"{member}{signature}"
        ) from None
    if "<" in function.__qualname__ or "." in function.__qualname__:
        raise ConfigError(
            f"application: {where} must be a function of a module, so that every process can "
            f"import it. Received: {function.__qualname__}"
        )


def _check_spelling(module: ModuleType) -> None:
    """Raises ConfigError for a misspelled member, which would silently be replaced by a default."""
    members = ["features", "build_examples", *OPTIONAL]
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", module.__name__) == module.__name__
        if name.startswith("_") or name in members or not is_own:
            continue
        meant = difflib.get_close_matches(name, members, n=1, cutoff=0.85)
        if meant and not hasattr(module, meant[0]):
            raise ConfigError(
                f"application: {module.__name__}.{name}: no such member. Did you mean {meant[0]}?"
            )


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ValidationError as error:  # raised by a FeatureSet
        raise ConfigError(f"application: {name}: {first_problem(error).lstrip(': ')}") from error
    except Exception as error:
        raise _broken(name, error) from error


def _find_package(application: str) -> None:
    """Raises ConfigError with the first missing part of the dotted path."""
    parts = application.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        spec = _find(name) if parts[end - 1].isidentifier() else None
        if spec is None:
            close = closest(parts[end - 1], _packages_in(parts[: end - 1]))
            meant = ".".join([*parts[: end - 1], close or ""])
            suggestion = f" Did you mean {meant}?" if close else ""
            raise ConfigError(f"application: there is no package {name}.{suggestion}")
        if spec.submodule_search_locations is None:
            raise ConfigError(
                f"application: expected a package, a folder of modules. Received: {name}, which is "
                "one module"
            )


def _find(name: str) -> ModuleSpec | None:
    """Imports the packages above `name` and finds it. Raises ConfigError if an import fails."""
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    except Exception as error:
        raise _broken(name.rpartition(".")[0], error) from error


def _broken(module: str, error: Exception) -> ConfigError:
    return ConfigError(f"application: {module} cannot be imported: {cause(error)}")


def _packages_in(parents: list[str]) -> list[str]:
    """Returns the names of the packages within the package `parents`, or in this folder."""
    if not parents:
        found = pkgutil.iter_modules([str(Path.cwd())])
    else:
        found = pkgutil.iter_modules(importlib.import_module(".".join(parents)).__path__)
    return [name for _, name, is_package in found if is_package]
