"""Artifact types of this component."""

from tfx.types.artifact import Artifact


class QuarantinedRecords(Artifact):
    """Rejected rows: `records/*.json.gz` with source, reason and record, and `summary.json`.

    Custom properties are `span`, `rows` and `reasons` (JSON). Kubeflow keeps a custom type only by
    its import path (`package.Class`, hence the export in `components`) and without declared
    properties.
    """

    TYPE_NAME = "components.QuarantinedRecords"
