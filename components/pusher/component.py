"""Declares the Pusher."""

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
          base_directory: Folder of the versions, on a mounted file system. Servers use its name as
            the model's name.
          model_blessing: Blessing of an Evaluator. Without it nothing is pushed.
          infra_blessing: Blessing of a ModelCanary or InfraValidator. Without it nothing is pushed.
          release: "immediate" makes a pushed version stable, "canary" makes it the canary, and
            "canary_in_turn" pushes nothing while another canary is being judged.
          keep_versions: Number of newest versions to keep, besides the live ones.
          followers: Model servers that must load a version before a label moves to it, and their
            time limits. By default no server is named.

        Raises:
          ValueError: keep_versions is below 1.
        """
        if keep_versions < 1:
            raise ValueError(f"keep_versions must be 1 or more. Received: {keep_versions}")
        settings: dict[str, object] = {"release": release, "keep_versions": keep_versions}
        # Only if it was set, because TFX's cache key includes the configuration.
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
