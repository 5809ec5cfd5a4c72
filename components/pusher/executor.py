"""Publishes a blessed model as a version and makes it live."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.components.util import model_utils
from tfx.dsl.components.base import base_executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as keys
from tfx.utils import io_utils, proto_utils

from base.shared_names import ASSETS_EXTRA
from components.pusher import intents
from components.pusher.intents import Intent
from components.pusher.load_test import load_test
from components.pusher.probe import write_probe
from components.pusher.release import Release, read_release, versions_named
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder

IMMEDIATE, CANARY, IN_TURN = "immediate", "canary", "canary_in_turn"
PUSHED = "pushed"  # property of a PushedModel, as the standard Pusher has it: 1 or 0

_log = logging.getLogger(__name__)


class PusherExecutor(executor.Executor):
    """See README.md; `custom_config` has `release`, `keep_versions` and maybe `followers`."""

    def __init__(self, context: base_executor.BaseExecutor.Context | None = None):
        super().__init__(context)
        self._execution = _execution_number(context)

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict[keys.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            pushed.set_int_custom_property(PUSHED, 0)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[keys.PUSH_DESTINATION_KEY], destination)
        folder = VersionsFolder(Path(destination.filesystem.base_directory))
        settings = json.loads(exec_properties[keys.CUSTOM_CONFIG_KEY])
        model = Path(self.GetModelPath(input_dict))
        with intents.locked(folder):
            before = read_release(folder.base)
            if settings["release"] == IN_TURN and waits_for(before, folder.find(model)):
                _log.info("not pushed: another canary is being judged")
                pushed.set_int_custom_property(PUSHED, 0)
                return
            with self._published(folder, model, _warm_up(input_dict)) as version:
                if (why := folder.withdrawn(version)) is not None:
                    _log.warning("version %d is this model, and was withdrawn: %s", version, why)
                    pushed.set_int_custom_property(PUSHED, 0)
                    return
                wanted = released(before, version, settings["release"])
                release = self._released(folder, version, model, before, wanted, settings)
            for old in folder.retire(settings["keep_versions"], {*release.labels.values()}):
                _log.info("version %d is removed: not live, and not among the newest", old)
        io_utils.copy_dir(str(model), pushed.uri)
        label = next(label for label, number in release.labels.items() if number == version)
        pushed.set_int_custom_property(PUSHED, 1)
        pushed.set_string_custom_property("pushed_destination", str(folder.path(version)))
        pushed.set_string_custom_property("pushed_version", str(version))
        pushed.set_string_custom_property("release", label)

    def _released(
        self,
        folder: VersionsFolder,
        version: int,
        model: Path,
        before: Release | None,
        wanted: Release,
        settings: dict[str, Any],
    ) -> Release:
        """Makes a version live. The intent is dropped once TFX has recorded the push."""
        rollout = Rollout(followers_of(settings), say=_log.warning)
        if before == wanted:
            return rollout.release(folder.base, before, wanted)
        pushed = {"version": str(version), "model": str(model)}
        intent = Intent(intents.new_id(intents.PUSH), intents.PUSH, before, wanted, pushed=pushed)
        with intents.intended(folder, intent) as done:
            release = rollout.release(folder.base, before, wanted)
            done(release)
        return release

    @contextlib.contextmanager
    def _published(self, folder: VersionsFolder, model: Path, extra: Path | None) -> Iterator[int]:
        """Publishes the model and yields its version, which is removed if the block fails.

        A rollback could choose a version that no server can load, so it must not stay. A version
        that models.config names stays in any case (the disk may be too full to fix the file).
        Without its folder TensorFlow Serving would reject the file for ever.
        """
        version = folder.find(model)
        if version is not None:
            _log.info("version %d is this model already", version)
            yield version
            return
        version = max([self._execution, *(newest + 1 for newest in folder.versions()[-1:])])
        folder.publish(model, version, extra, _check)
        try:
            yield version
        except Exception:
            if version not in versions_named(folder.base):
                folder.remove(version)
            raise


def _execution_number(context: base_executor.BaseExecutor.Context | None) -> int:
    """Returns the number of the execution in ML Metadata, the end of its temporary folder's name.

    On Kubeflow the name is the task's and may not end in a number. The result is then 1.
    """
    found = re.search(r"\d+$", Path(context.get_tmp_path()).name) if context else None
    return int(found.group()) if found else 1


def followers_of(settings: dict[str, Any]) -> Followers:
    """Returns the servers that a release waits for, from the Pusher's `custom_config`."""
    given = dict(settings.get("followers", {}))
    given["servers"] = tuple(given.get("servers", ()))
    return Followers(**given)


def _check(incoming: Path) -> None:
    load_test(incoming)
    write_probe(incoming)


def released(before: Release | None, version: int, release: str) -> Release:
    """Returns the release after a push. A version that is already live keeps its label."""
    if before is None:
        return Release(version)
    if version in before.labels.values():
        return before
    if release == IMMEDIATE:
        return before.with_stable(version)
    return before.with_canary(version)


def waits_for(before: Release | None, version: int | None) -> bool:
    """Returns whether another canary is being judged; `version` is None for a new version."""
    if before is None or before.canary is None:
        return False
    return version is None or version not in before.labels.values()


def _warm_up(input_dict: dict[str, list[types.Artifact]]) -> Path | None:
    """Returns the folder of the canary's warm-up requests, beside its InfraBlessing."""
    for blessing in input_dict.get(keys.INFRA_BLESSING_KEY, []):
        extra = Path(blessing.uri) / ASSETS_EXTRA
        if model_utils.is_infra_validated(blessing) and extra.is_dir():
            return extra
    return None
