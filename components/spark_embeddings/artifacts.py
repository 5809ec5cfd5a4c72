"""Artifact types of this component."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class TokenEmbeddings(Artifact):
    """`embeddings.parquet` with token (bytes), count and vector (float32), by falling count.

    Custom properties are `token` (the feature), `width`, `tokens` and `sequences`. See
    QuarantinedRecords for why they are not declared.
    """

    TYPE_NAME = "components.TokenEmbeddings"
