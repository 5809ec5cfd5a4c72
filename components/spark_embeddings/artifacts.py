"""Artifact types of this component."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class TokenEmbeddings(Artifact):
    """`embeddings.parquet`: token (bytes), count and vector (float32), the most frequent first.

    Custom properties: `token` (the feature), `width`, `tokens` and `sequences`; see
    QuarantinedRecords for why they are not declared.
    """

    TYPE_NAME = "components.TokenEmbeddings"
