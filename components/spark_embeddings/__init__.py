"""Embeddings of a feature's values by Spark MLlib's Word2Vec; see README.md."""

from __future__ import annotations

from typing import Any

__all__ = ["Sequences", "SparkEmbeddings"]


def __getattr__(name: str) -> Any:
    # Imported on demand, because readers of embeddings need no component.
    if name in __all__:
        from components.spark_embeddings import component

        return getattr(component, name)
    raise AttributeError(name)
