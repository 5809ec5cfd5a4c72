"""Whether the runner of the Beam steps can be had: asked before the first component runs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from apache_beam.runners import create_runner

from pipeline.config import ConfigError


def check_beam_runner(arguments: Sequence[str]) -> None:
    """Looks at `beam_pipeline_args`.

    Beam would say so when the first Beam step begins, of a job server that does not answer only
    after five minutes.

    Raises:
      ConfigError: there is no runner of this name, or nobody answers at its job endpoint.
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
