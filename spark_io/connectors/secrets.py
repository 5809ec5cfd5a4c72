"""Secrets, read from the environment where they are used, and kept nowhere."""

from __future__ import annotations

import os

from base.errors import ComponentError
from spark_io.sources.source_types import JdbcSource, KafkaSource


def secret_values(name: str, source: JdbcSource | KafkaSource) -> dict[str, str]:
    """Option -> value, from the environment.

    Raises:
      ComponentError: naming the variable that is not set.
    """
    values = {}
    for option, variable in source.secrets().items():
        if variable not in os.environ:
            raise ComponentError(
                f"source '{name}': the environment variable {variable} (for {option}) is not set"
            )
        values[option] = os.environ[variable]
    return values
