"""Connectors, one module for each kind of source: `find` lists its data, `read` its rows."""

from __future__ import annotations

from types import ModuleType

from spark_io.connectors import files, jdbc, kafka, tables

CONNECTORS: dict[str, ModuleType] = {"file": files, "jdbc": jdbc, "kafka": kafka, "table": tables}
