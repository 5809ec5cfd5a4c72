"""Reads secrets from the environment when they are used, and stores them nowhere."""

from __future__ import annotations

import os

from base.errors import ComponentError
from spark_io.sources.source_types import JdbcSource, KafkaSource


def secret_values(name: str, source: JdbcSource | KafkaSource) -> dict[str, str]:
    """Returns the secret options of a source, as option -> value.

    Raises:
      ComponentError: An environment variable is not set.
    """
    values = {}
    for option, variable in source.secrets().items():
        if variable not in os.environ:
            raise ComponentError(
                f"source '{name}': the environment variable {variable} (for {option}) is not set"
            )
        values[option] = os.environ[variable]
    return values
