"""Reads vectors that an earlier step has learned, such as item embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import base.arrow  # noqa: F401

FILE = "embeddings.parquet"
FEATURE = b"feature"  # key of the file's metadata


@dataclasses.dataclass(frozen=True)
class PrecomputedVectors:
    """Vectors of a categorical feature's values.

    Attributes:
      feature: Name of the feature.
      tokens: Values that have a vector.
      vectors: One vector per value, float32 [tokens, width].
    """

    feature: str
    tokens: list[bytes]
    vectors: NDArray[np.float32]

    @classmethod
    def read(cls, uri: str) -> PrecomputedVectors:
        """Reads the vectors of the artifact at `uri`."""
        table = pq.read_table(Path(uri) / FILE)
        return cls(
            feature=table.schema.metadata[FEATURE].decode(),
            tokens=table["token"].to_pylist(),
            vectors=np.stack(table["vector"].to_numpy()).astype(np.float32),
        )

    def for_tokens(self, tokens: Sequence[bytes]) -> NDArray[np.float32]:
        """Returns the vectors of `tokens`, float32 [len(tokens), width]; zeros if unknown."""
        place = {token: number for number, token in enumerate(self.tokens)}
        rows = [place.get(token, -1) for token in tokens]
        return np.vstack([self.vectors, np.zeros_like(self.vectors[:1])])[rows]
