"""Reads from TensorFlow Serving's model_config_list which versions of models to serve."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from base.shared_names import MODELS_CONFIG, VERSIONS_LOCK, WITHDRAWN_MARK
from serving.server.base_path import local_path, version_folders
from serving.server.errors import Code, ServingError, invalid

# Names appear in logs, metrics and REST paths.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_SHOWN = 40  # characters of a rejected name


@dataclasses.dataclass(frozen=True)
class WantedModel:
    """A model of a config, with its versions on disk at the time of reading.

    Attributes:
      name: Name of the model.
      base_path: Folder of its versions.
      versions: Versions to serve, ascending, including those that are missing on disk.
      labels: Version of each label.
      folders: Folder name of each version on disk.
    """

    name: str
    base_path: Path
    versions: tuple[int, ...]
    labels: dict[str, int]
    folders: dict[int, str] = dataclasses.field(default_factory=dict, compare=False)

    def path(self, version: int) -> Path:
        """Returns the folder of a version, whether it exists or not."""
        return self.base_path / self.folders.get(version, str(version))


def wanted_models(
    config: model_server_config_pb2.ModelServerConfig, roots: Collection[Path] | None = None
) -> list[WantedModel]:
    """Returns the models that a config asks for.

    Args:
      config: Config from a file or a client.
      roots: Resolved folders that may contain base paths; None for no restriction.

    Raises:
      ServingError: The config has no list of models, a model without name or folder, a duplicate,
        or a base path that is a URI, cannot be listed, or is in none of the roots.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("the config must have a model_config_list")
    if roots is not None:
        for model in config.model_config_list.config:
            _check_inside(model, roots)  # before any access to the disk
    found = [_wanted(model) for model in config.model_config_list.config]
    names = [model.name for model in found]
    if len(set(names)) < len(names):
        raise invalid(f"a model is listed twice: {', '.join(sorted(names))}")
    return found


def read_config(path: Path) -> model_server_config_pb2.ModelServerConfig:
    """Reads a file of TensorFlow Serving's --model_config_file.

    Raises:
      ServingError: The file cannot be read.
    """
    try:
        text = path.read_text("utf-8")
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise invalid(f"cannot read {path}: {error}") from None


class FolderConfig:
    """Reads a folder's models.config, or serves the newest version if there never was one.

    If the file has disappeared, nothing is served: the newest version may have been withdrawn.
    """

    def __init__(self, name: str, base_path: Path):
        self._name, self._base_path = name, base_path
        self._is_pushed_to = False

    def read(self) -> model_server_config_pb2.ModelServerConfig:
        """Returns the current config.

        Raises:
          ServingError: The file cannot be read, or has disappeared.
        """
        name, base_path, path = self._name, self._base_path, self._base_path / MODELS_CONFIG
        try:
            is_there = path.exists()
            was_there = (base_path / VERSIONS_LOCK).exists() or any(
                base_path.glob(f"*/{WITHDRAWN_MARK}")
            )
        except OSError as error:
            raise invalid(f"cannot look for {path}: {error}") from None
        if is_there:
            self._is_pushed_to = True
            config = read_config(path)
            for model in config.model_config_list.config:
                # The folder may have had another path where the file was written.
                model.name, model.base_path = name, str(base_path)
            return config
        if self._is_pushed_to or was_there:
            raise ServingError(
                Code.UNAVAILABLE,
                f"{path} is missing, so it is unknown which version may be live. Wait if a first "
                "push is running, else write it with `python -m serving rollback --config CONFIG "
                "--to VERSION`",
            )
        config = model_server_config_pb2.ModelServerConfig()
        config.model_config_list.config.add(
            name=name, base_path=str(base_path), model_platform="tensorflow"
        )
        return config


def _check_inside(model: model_server_config_pb2.ModelConfig, roots: Collection[Path]) -> None:
    try:
        base = local_path(model.base_path).resolve()
    except ValueError as error:
        raise invalid(f"base_path of a model: {error}") from None
    if not any(base.is_relative_to(root) for root in roots):
        raise ServingError(
            Code.PERMISSION_DENIED,
            f"base_path {model.base_path[:200]!a} is in none of this server's folders. Add a "
            "folder with the server's option --model-root",
        )


def _wanted(model: model_server_config_pb2.ModelConfig) -> WantedModel:
    if not model.name or not model.base_path:
        raise invalid("a model of the config has no name or no base_path")
    for text in (model.name, *model.version_labels):
        if not _NAME.fullmatch(text):
            raise invalid(
                "the name of a model or label must consist of letters, digits, '.', '_' and '-', "
                f"at most 128. Received: {text[:_MAX_SHOWN]!a}"
            )
    if model.model_platform not in ("", "tensorflow"):
        raise invalid(
            f"{model.name}: model_platform must be tensorflow. Received: {model.model_platform}"
        )
    try:
        base = local_path(model.base_path)
        folders = version_folders(base)
    except ValueError as error:
        raise invalid(f"base_path of model {model.name}: {error}") from None
    except OSError as error:
        raise invalid(f"cannot list the versions of model {model.name}: {error}") from None
    labels, on_disk = dict(model.version_labels), [*folders]
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "all":
        versions = on_disk
    elif kind == "specific":
        versions = sorted(policy.specific.versions)
    else:
        newest = policy.latest.num_versions or 1
        versions = sorted({*on_disk[-newest:], *(v for v in labels.values() if v in on_disk)})
    return WantedModel(model.name, base, tuple(versions), labels, folders)
