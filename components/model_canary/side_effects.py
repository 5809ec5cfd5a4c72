"""Finds signatures with side effects, which only users may call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

# Variables, tables, files and queues.
_WRITING = re.compile(
    r"Assign|Resource(Sparse)?(Apply|Scatter|StridedSliceAssign)|Scatter(Add|Sub|Update)|Save"
    r"|WriteFile|MergeV2Checkpoints|LookupTable(Insert|Import|Remove)|Queue(Enqueue|Dequeue)"
)


def signatures_that_write(
    graph: graph_pb2.GraphDef, signatures: Mapping[str, meta_graph_pb2.SignatureDef]
) -> frozenset[str]:
    """Returns the names of the signatures that reach a writing operation.

    Args:
      graph: Graph of the SavedModel.
      signatures: Name -> signature.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {one.signature.name: one.node_def for one in graph.library.function}
    return frozenset(
        name
        for name, signature in signatures.items()
        if any(
            _WRITING.match(node.op)
            for node in _with_functions(_reached(nodes, signature), functions)
        )
    )


def _reached(
    nodes: Mapping[str, node_def_pb2.NodeDef], signature: meta_graph_pb2.SignatureDef
) -> list[node_def_pb2.NodeDef]:
    """Returns the nodes that the signature's outputs depend on."""
    waiting = [info.name for info in signature.outputs.values()]
    found: dict[str, node_def_pb2.NodeDef] = {}
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    return [*found.values()]


def _with_functions(
    nodes: Sequence[node_def_pb2.NodeDef],
    functions: Mapping[str, Sequence[node_def_pb2.NodeDef]],
) -> Iterator[node_def_pb2.NodeDef]:
    """Yields the nodes, and the nodes of all functions that they may call."""
    waiting, seen = [*nodes], set[str]()
    while waiting:
        node = waiting.pop()
        yield node
        for value in node.attr.values():
            for name in {value.func.name, *(one.name for one in value.list.func)} - seen:
                seen.add(name)
                waiting += functions.get(name, ())
