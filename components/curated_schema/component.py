"""Declares CuratedSchema, TFX's ImportSchemaGen with the file's content in its cache key."""

from __future__ import annotations

from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter


class CuratedSchemaSpec(standard_component_specs.ImportSchemaGenSpec):
    PARAMETERS = {  # noqa: RUF012 - the form TFX asks for
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        "schema_sha256": ExecutionParameter(type=str),
    }


class CuratedSchema(base_component.BaseComponent):
    """Imports a schema file; `outputs['schema']` is a `standard_artifacts.Schema`."""

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str, sha256: str):
        """Constructs a CuratedSchema.

        Args:
          schema_file: Path of the schema as the executor sees it.
          sha256: SHA-256 of the file's bytes, in hexadecimal.
        """
        spec = CuratedSchemaSpec(
            schema_file=schema_file,
            schema_sha256=sha256,
            schema=types.Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec)
