"""CuratedSchema: TFX's ImportSchemaGen, whose cache key knows what the file holds."""

from __future__ import annotations

from tfx import types
from tfx.components.schema_gen.import_schema_gen import component as import_schema_gen
from tfx.dsl.components.base import base_component
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter


class CuratedSchemaSpec(standard_component_specs.ImportSchemaGenSpec):
    PARAMETERS = {  # noqa: RUF012 - the form TFX asks for
        **standard_component_specs.ImportSchemaGenSpec.PARAMETERS,
        "schema_sha256": ExecutionParameter(type=str),
    }


class CuratedSchema(import_schema_gen.ImportSchemaGen):
    """Imports a schema file; `outputs['schema']` is a `standard_artifacts.Schema`."""

    SPEC_CLASS = CuratedSchemaSpec

    def __init__(self, schema_file: str, sha256: str):
        """Constructs a CuratedSchema.

        Args:
          schema_file: path, as the executor will see it.
          sha256: of the file's bytes.
        """
        spec = CuratedSchemaSpec(
            schema_file=schema_file,
            schema_sha256=sha256,
            schema=types.Channel(type=standard_artifacts.Schema),
        )
        # ImportSchemaGen.__init__ would build its own spec; its base takes ours.
        base_component.BaseComponent.__init__(self, spec=spec)
