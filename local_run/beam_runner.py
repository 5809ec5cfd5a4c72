"""Checks, before the first component runs, that the runner of the Beam steps is available."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.runners import create_runner

from pipeline.config import ConfigError


def check_beam_runner(arguments: Sequence[str]) -> None:
    """Checks `beam_pipeline_args`.

    Beam itself fails only when the first Beam step begins, and waits five minutes for a job server.

    Raises:
      ConfigError: There is no runner of this name, or its job endpoint does not answer.
    """
    options = PipelineOptions([*arguments])
    name = options.view_as(StandardOptions).runner
    if name:
        try:
            create_runner(name)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"beam_pipeline_args: {error}") from None
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed" and not _answers(endpoint):
        raise ConfigError(
            f"beam_pipeline_args: nobody answers at {endpoint} (--job_endpoint); start Beam's job "
            "server there, see docs/clusters.md"
        )


def _answers(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    with (
        contextlib.suppress(OSError, ValueError),
        socket.create_connection((host, int(port)), timeout=5),
    ):
        return True
    return False
