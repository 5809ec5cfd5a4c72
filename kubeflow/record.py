"""Records the inputs and outputs of steps in ML Metadata, with the types of TFX's runners."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from kubeflow.step_account import Json
from metadata.connection import Connection
from metadata.reader import MetadataReader
from metadata.writer import MetadataWriter, NewArtifact, Value

_TYPES = {"integer": int, "number": float, "double": float, "string": str}
_INT64 = 1 << 63
_CUSTOM = "custom:"  # how TFX marks a custom property with the name of a declared one
Output = tuple[str, str]  # step and output key


class Record:
    """Writes one run into a SQLite file.

    Args:
      path: Path of the file; it is created if missing.
      pipeline: Name of the pipeline.
      run_id: Id of this run.
    """

    def __init__(self, path: Path, pipeline: str, run_id: str):
        self._writer = MetadataWriter.connect(Connection("sqlite", path), pipeline)
        self._run_id = run_id
        self._steps: dict[int, str] = {}  # execution -> step
        self._artifacts: dict[Output, int] = {}

    @property
    def reader(self) -> MetadataReader:
        """A store that reads what was written."""
        return self._writer.reader

    def begin(self, step: str, parameters: Mapping[str, Any], began: float | None = None) -> int:
        """Records that a step runs; returns the execution's id. `began` is as in MetadataWriter."""
        properties = {name: _value(value) for name, value in parameters.items()}
        execution_id = self._writer.begin(step, properties, self._run_id, began)
        self._steps[execution_id] = step
        return execution_id

    def end(
        self,
        execution_id: int,
        state: Literal["complete", "failed"],
        inputs: Mapping[str, Output],
        outputs: Mapping[str, Json],
        ended: float | None = None,
    ) -> None:
        """Records how a step ended.

        Args:
          execution_id, state, ended: As in MetadataWriter; a failed step has no outputs.
          inputs: Key -> output of another step; missing outputs are left out.
          outputs: Key -> RuntimeArtifact.
        """
        taken = [
            (key, self._artifacts[output])
            for key, output in inputs.items()
            if output in self._artifacts
        ]
        given = outputs if state == "complete" else {}
        made = [(key, _new_artifact(one, ended)) for key, one in given.items()]
        numbers = self._writer.end(execution_id, state, taken, made, ended)
        step = self._steps[execution_id]
        self._artifacts |= {(step, key): n for key, n in zip(given, numbers, strict=True)}

    def number(self, output: Output) -> int:
        """Returns the id of the artifact that a step produced."""
        return self._artifacts[output]


def _new_artifact(one: Json, created: float | None) -> NewArtifact:
    """Returns a RuntimeArtifact of Kubeflow as TFX's runners write it."""
    schema = yaml.safe_load(one["type"].get("instanceSchema", "{}"))  # of TFX; KFP has a title
    title = schema.get("title") or one["type"]["schemaTitle"]
    types = {name: _TYPES[kind["type"]] for name, kind in schema.get("properties", {}).items()}
    given = {name: _value(value) for name, value in one.get("metadata", {}).items()}
    return NewArtifact(
        type_name=title.rpartition(".")[-1],
        uri=one["uri"],
        properties={n.removeprefix(_CUSTOM): v for n, v in given.items() if n not in types},
        declared_types=types,
        declared={name: types[name](value) for name, value in given.items() if name in types},
        created=created,
    )


def _value(value: Any) -> Value:
    """Returns a JSON value as a property; JSON does not tell whole numbers from others."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        is_whole = float(value).is_integer() and abs(value) < _INT64
        return int(value) if is_whole else float(value)
    return str(value)
