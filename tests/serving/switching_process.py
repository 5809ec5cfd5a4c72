"""Promotes, rolls back or pushes, is killed before each change of the disk, and is settled.

python switching_process.py FOLDER ACTION

Exits with 0 if ML Metadata, models.config and the marks of withdrawn versions always agree.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.pusher import intents
from components.pusher.intents import PUSH, Intent
from components.pusher.release import Release, read_release, versions_named, write_release
from components.pusher.rollout import Followers, Rollout
from components.pusher.versions_folder import VersionsFolder
from metadata.connection import connection_config
from pipeline.config import PipelineConfig, load_config
from serving.release import settle as settling
from serving.release.record import record_in
from serving.release.switch import promote, rollback
from tests.dying import die_before_change

BEFORE = Release(2, previous=1, canary=3)
ROLLOUT = Rollout(Followers(follow_seconds=0))
REASON = "worse [/x] \x1b[31m\n'quoted'"


def push_4(config: PipelineConfig) -> None:
    folder = VersionsFolder(config.serving_folder)
    wanted = Release(2, previous=1, canary=4)
    with intents.locked(folder):
        pushed = {"version": "4", "model": "/models/4"}
        intent = Intent(intents.new_id(PUSH), PUSH, BEFORE, wanted, pushed=pushed)
        with intents.intended(folder, intent) as done:
            done(ROLLOUT.release(folder.base, BEFORE, wanted))


ACTIONS: dict[str, Callable[[PipelineConfig], object]] = {
    "promote": lambda c: record_in(c, promote(c.serving_folder, rollout=ROLLOUT)),
    "rollback": lambda c: record_in(c, rollback(c.serving_folder, None, REASON, rollout=ROLLOUT)),
    "rollback_to": lambda c: record_in(c, rollback(c.serving_folder, 1, REASON, rollout=ROLLOUT)),
    "push": push_4,
}
WITHDRAWN = {"promote": set(), "rollback": {3}, "rollback_to": {2, 3}, "push": set()}


def new_pipeline(folder: Path) -> PipelineConfig:
    """Creates four versions, three of them live, and records these three in ML Metadata."""
    places = [f"run_root={folder / 'runs'}", f"serving_root={folder / 'served'}"]
    config = load_config("applications/ctr/configs/ctr.yaml", places)
    for version in (1, 2, 3, 4):
        (config.serving_folder / str(version)).mkdir(parents=True)
    write_release(config.serving_folder, BEFORE)
    config.metadata_path.parent.mkdir(parents=True, exist_ok=True)
    store = metadata_store.MetadataStore(connection_config(config.metadata_connection))
    kind = store.put_artifact_type(mlmd.ArtifactType(name="PushedModel"))
    for version in (1, 2, 3):
        artifact = mlmd.Artifact(type_id=kind, uri=f"/pushed/{version}")
        artifact.custom_properties["pushed_version"].string_value = str(version)
        store.put_artifacts([artifact])
    return config


def killed_before(number: int, action: Callable[[], object]) -> bool:
    """Runs the action in a forked child and returns whether the child was killed."""
    child = os.fork()
    if child == 0:
        try:
            die_before_change(number)
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def check(config: PipelineConfig, action: str) -> bool:
    """Asserts that all records agree, and returns whether the action took effect."""
    base = config.serving_folder
    folder, live = VersionsFolder(base), read_release(base)
    assert live is not None
    came = live != BEFORE
    store = metadata_store.MetadataStore(connection_config(config.metadata_connection))
    recorded = [e for e in store.get_executions() if e.last_known_state == mlmd.Execution.COMPLETE]
    assert len(recorded) == came, (recorded, live)
    if came and action != "push":
        for label, version in dataclasses.asdict(live).items():
            if version is not None:
                said = recorded[0].custom_properties[f"{label}_after"].int_value
                assert said == version, (label, said, live)
    marked = {version for version in (1, 2, 3, 4) if folder.withdrawn(version) is not None}
    assert marked == (WITHDRAWN[action] if came else set()), (marked, live)
    assert not marked & {*live.labels.values()}
    for version in marked:
        assert folder.withdrawn(version) == REASON
    assert versions_named(base) == {*live.labels.values()}
    assert intents.intents_of(base) == []
    return came


def main(root: Path, action: str) -> None:
    settling.TFX_RECORDING_TIME *= 0  # TFX will not record the push
    number, outcomes = 0, []
    while True:
        config = new_pipeline(root / str(number))
        was_killed = killed_before(number, functools.partial(ACTIONS[action], config))
        settling.settle(config)
        settling.settle(config)  # a second call changes nothing
        outcomes.append(check(config, action))
        if not was_killed:
            break
        number += 1
    assert outcomes == sorted(outcomes), outcomes  # False up to some step, then True
    assert outcomes[0] is False
    assert outcomes[-1] is True
    print(f"{action}: killed at {number} steps")
    assert number > 8


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
