"""Spark ETL as a TFX ExampleGen; see README.md.

Names are imported when asked for: the Spark job and its Python workers import submodules of this
package, and must not wait ten seconds for TFX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.spark_example_gen.component import SparkExampleGen
    from spark_io.examples.time_cut import TimeCut
    from spark_io.sources.source_types import (
        FileSource,
        JdbcSource,
        KafkaSource,
        SparkConfig,
        TableSource,
    )

_HOMES = {
    "FileSource": "spark_io.sources.source_types",
    "JdbcSource": "spark_io.sources.source_types",
    "KafkaSource": "spark_io.sources.source_types",
    "SparkConfig": "spark_io.sources.source_types",
    "SparkExampleGen": "components.spark_example_gen.component",
    "TableSource": "spark_io.sources.source_types",
    "TimeCut": "spark_io.examples.time_cut",
}
__all__ = [
    "FileSource",
    "JdbcSource",
    "KafkaSource",
    "SparkConfig",
    "SparkExampleGen",
    "TableSource",
    "TimeCut",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
