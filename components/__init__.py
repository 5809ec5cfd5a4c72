"""Custom TFX components, one folder each; see README.md."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Returns artifact types by the path that Kubeflow imports. The import of TFX is slow."""
    if name == "QuarantinedRecords":
        from components.spark_example_gen.artifacts import QuarantinedRecords

        return QuarantinedRecords
    if name == "TokenEmbeddings":
        from components.spark_embeddings.artifacts import TokenEmbeddings

        return TokenEmbeddings
    if name == "Decision":
        from components.trainer.artifacts import Decision

        return Decision
    if name == "TreeComparison":
        from components.tree_baseline.artifacts import TreeComparison

        return TreeComparison
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
