"""Artifact types of this component."""

from tfx.types.artifact import Artifact, Property, PropertyType


class QuarantinedRecords(Artifact):
    """Rows that did not become examples: `records/*.json.gz` with source, reason and the record,
    and `summary.json` with counts by source and reason."""

    TYPE_NAME = "QuarantinedRecords"
    PROPERTIES = {  # noqa: RUF012 - the form TFX asks for
        "span": Property(type=PropertyType.INT),
    }
