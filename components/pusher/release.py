"""Reads and writes TensorFlow Serving's models.config, which says what is live of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from base.atomic_files import write_text
from base.errors import ComponentError
from base.shared_names import MODELS_CONFIG

STABLE, PREVIOUS, CANARY = "stable", "previous", "canary"


@dataclasses.dataclass(frozen=True)
class Release:
    """The live versions of a model by their labels.

    Attributes:
      stable: Version for most users.
      previous: Version that was stable before. It stays loaded for an immediate rollback.
      canary: Version newer than stable, for a share of the users.
    """

    stable: int
    previous: int | None = None
    canary: int | None = None

    @property
    def labels(self) -> dict[str, int]:
        """Label -> version."""
        found = {STABLE: self.stable, PREVIOUS: self.previous, CANARY: self.canary}
        return {label: version for label, version in found.items() if version is not None}

    def with_stable(self, version: int) -> Release:
        """Returns a release of `version` for all. The stable version becomes the previous one."""
        if version == self.stable:
            return dataclasses.replace(self, canary=None)
        return Release(version, previous=self.stable)

    def with_canary(self, version: int) -> Release:
        """Returns a release with `version` as the canary beside the stable version."""
        return self if version == self.stable else dataclasses.replace(self, canary=version)


def read_release(base: Path) -> Release | None:
    """Reads the release in models.config; returns None without the file.

    Raises:
      ComponentError: The file cannot be read or names no stable version.
    """
    found = _read(base)
    return None if found is None else found[0]


def versions_named(base: Path) -> set[int]:
    """Returns the versions that models.config tells servers to load, with or without a label.

    Raises:
      ComponentError: The file cannot be read or names no stable version.
    """
    found = _read(base)
    return set() if found is None else found[1]


def _read(base: Path) -> tuple[Release, set[int]] | None:
    path = base / MODELS_CONFIG
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
        (config,) = parsed.model_config_list.config
        labels = dict(config.version_labels)
        release = Release(labels[STABLE], labels.get(PREVIOUS), labels.get(CANARY))
    except (text_format.ParseError, ValueError, KeyError) as error:
        raise ComponentError(
            f"{path} is not as the Pusher writes it ({str(error) or type(error).__name__}); it has "
            f"to name one model and its label '{STABLE}'. Fix it, or remove it to start again"
        ) from None
    return release, {*config.model_version_policy.specific.versions, *labels.values()}


def models_config(
    name: str, base_path: str, release: Release, also: Iterable[int] = ()
) -> model_server_config_pb2.ModelServerConfig:
    """Returns TF Serving's config of a release.

    Args:
      name: The model's name.
      base_path: The folder of the versions, as the server sees it.
      release: The labels, and the versions that have one.
      also: Versions to load beside those; they get no label.
    """
    result = model_server_config_pb2.ModelServerConfig()
    config = result.model_config_list.config.add(
        name=name, base_path=base_path, model_platform="tensorflow"
    )
    versions = sorted({*release.labels.values(), *also})
    config.model_version_policy.specific.versions.extend(versions)
    for label, version in release.labels.items():
        config.version_labels[label] = version
    return result


def write_release(base: Path, release: Release, also: Iterable[int] = ()) -> None:
    """Replaces models.config atomically. The model's name is the folder's.

    A running server may reject the new file. rollout.py changes a release in steps that servers
    accept.

    Args:
      base: Folder of the versions.
      release: Live versions.
      also: Versions to load besides those with a label.
    """
    config = models_config(base.name, str(base.resolve()), release, also)
    write_text(base / MODELS_CONFIG, text_format.MessageToString(config), durable=True)
