"""One module a kind of source: what is there (`find`), and its rows (`read`)."""

from __future__ import annotations

from types import ModuleType

from spark_io.connectors import files, jdbc, kafka, tables

CONNECTORS: dict[str, ModuleType] = {"file": files, "jdbc": jdbc, "kafka": kafka, "table": tables}
