"""Artifact types of this component."""

from tfx.types.artifact import Artifact


class QuarantinedRecords(Artifact):
    """Rows that did not become examples: `records/*.json.gz` with source, reason and the record,
    and `summary.json` with counts by source and reason.

    Custom properties: `span`, `rows` and `reasons` (JSON). Kubeflow keeps a type of our own only
    under the path it is imported by (`package.Class`, hence the export in `components`), and
    without declared properties.
    """

    TYPE_NAME = "components.QuarantinedRecords"
