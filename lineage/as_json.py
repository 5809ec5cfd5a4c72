"""Writes records as JSON, with the dataclasses' own field names.

This is the contract of `--json`: fields may be added, but none is renamed. Times are ISO 8601, UTC.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any

from metadata.records import Run


def to_json(value: Any) -> str:
    """Returns a record of this package, or a dict or list of records, as JSON."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Run):
        fields = {"run_id": value.run_id, "pipeline": value.pipeline, "started": value.started}
        measured = {"state": value.state, "seconds": value.seconds}
        return _plain({**fields, **measured, "components": value.components})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _plain(fields)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None  # JSON has neither NaN nor infinity
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value
