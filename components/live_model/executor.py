"""Copies the live version of a model into an artifact."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.pusher.release import read_release
from components.pusher.versions_folder import VersionsFolder
from metadata import names

_log = logging.getLogger(__name__)


class LiveModelExecutor(base_executor.BaseExecutor):
    """See README.md."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        candidate = artifact_utils.get_single_instance(input_dict["candidate"])
        model = artifact_utils.get_single_instance(output_dict["model"])
        folder = VersionsFolder(Path(exec_properties["base_directory"]))
        version = _baseline(folder, candidate)
        Path(model.uri).mkdir(parents=True, exist_ok=True)
        if version is None:
            _log.info("nothing but the candidate is live in %s", folder.base)
            model.set_int_custom_property(names.ABSENT, 1)
            return
        io_utils.copy_dir(str(folder.path(version)), path_utils.serving_model_path(model.uri))
        model.set_string_custom_property(names.PUSHED_VERSION, str(version))


def _baseline(folder: VersionsFolder, candidate: types.Artifact) -> int | None:
    """Returns the stable version, or the previous one if the candidate is stable; None if none."""
    release = read_release(folder.base)
    if release is None:
        return None
    old_layout = path_utils.is_old_model_artifact(candidate)
    pushed_as = folder.find(Path(path_utils.serving_model_path(candidate.uri, old_layout)))
    return release.previous if release.stable == pushed_as else release.stable
