"""Which versions of which models shall be served: TensorFlow Serving's model_config_list."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from components.pusher.release import FILE
from serving.server.base_path import local_path, version_folders
from serving.server.errors import invalid


@dataclasses.dataclass(frozen=True)
class WantedModel:
    """One model of a config, and its versions on disk at this moment.

    Attributes:
      name: what clients call it.
      base_path: folder of its versions.
      versions: that shall be served, ascending; those that are missing on disk among them.
      labels: label -> version.
      folders: version -> name of its folder, for the versions on disk.
    """

    name: str
    base_path: Path
    versions: tuple[int, ...]
    labels: dict[str, int]
    folders: dict[int, str] = dataclasses.field(default_factory=dict, compare=False)

    def path(self, version: int) -> Path:
        """Returns the folder of a version, whether it is there or not."""
        return self.base_path / self.folders.get(version, str(version))


def wanted_models(config: model_server_config_pb2.ModelServerConfig) -> list[WantedModel]:
    """What a config asks for.

    Raises:
      ServingError: it has no list of models, or a model without name or folder, or one twice, or a
        base path that is a URI or cannot be listed.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise invalid("the config has no model_config_list")
    found = [_wanted(model) for model in config.model_config_list.config]
    names = [model.name for model in found]
    if len(set(names)) < len(names):
        raise invalid(f"a model is listed twice: {', '.join(sorted(names))}")
    return found


def read_config(path: Path) -> model_server_config_pb2.ModelServerConfig:
    """A file of TensorFlow Serving's --model_config_file.

    Raises:
      ServingError: it cannot be read.
    """
    try:
        text = path.read_text("utf-8")
        return text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise invalid(f"cannot read {path}: {error}") from None


def config_of_folder(name: str, base_path: Path) -> model_server_config_pb2.ModelServerConfig:
    """What the folder's models.config says, or the newest version where there is none."""
    if (base_path / FILE).exists():
        config = read_config(base_path / FILE)
        for model in config.model_config_list.config:
            model.name, model.base_path = name, str(base_path)  # as given, wherever it was written
        return config
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=name, base_path=str(base_path), model_platform="tensorflow"
    )
    return config


def _wanted(model: model_server_config_pb2.ModelConfig) -> WantedModel:
    if not model.name or not model.base_path:
        raise invalid("a model of the config has no name or no base_path")
    if model.model_platform not in ("", "tensorflow"):
        raise invalid(f"{model.name}: model_platform is {model.model_platform}, not tensorflow")
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
