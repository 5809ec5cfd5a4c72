"""Pusher: what goes in and out."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tfx import components as tfx_components
from tfx import types
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2

from components.pusher.executor import PusherExecutor
from components.pusher.rollout import Followers


class Pusher(tfx_components.Pusher):
    """The standard Pusher, with an executor that publishes whole versions; see README.md."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        base_directory: str,
        model_blessing: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
        release: Literal["immediate", "canary", "canary_in_turn"] = "immediate",
        keep_versions: int = 5,
        followers: Followers | None = None,
    ):
        """Constructs a Pusher.

        Args:
          model: `standard_artifacts.Model` of a Trainer.
          base_directory: folder of the versions, on a mounted file system; its name is the
            model's for servers.
          model_blessing: of an Evaluator; nothing is pushed without its blessing.
          infra_blessing: of a ModelCanary or InfraValidator; likewise.
          release: whether a pushed version is for all at once, or the canary first; in turn: there
            is no push while another canary is being judged.
          keep_versions: so many stay, and those that are live.
          followers: the model servers that have to load a version before a label moves to it, and
            how long they may take; default: those that look each second, none by name.

        Raises:
          ValueError: keep_versions is below 1.
        """
        if keep_versions < 1:
            raise ValueError(f"keep_versions is 1 or more, not {keep_versions}")
        settings: dict[str, object] = {"release": release, "keep_versions": keep_versions}
        # Only where it was set: TFX's cache takes another configuration for another execution.
        if followers is not None and followers != Followers():
            settings["followers"] = dataclasses.asdict(followers)
        super().__init__(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            push_destination=pusher_pb2.PushDestination(
                filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=base_directory)
            ),
            custom_config=settings,
        )
