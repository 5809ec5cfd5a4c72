"""Boxes in layers, with lines between them: where each is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 168, 52, 56, 22, 12


@dataclasses.dataclass(frozen=True)
class Node:
    """A box.

    Attributes:
      key: Unique key, which the panel that the box opens also has.
      title, subtitle: Its two lines.
      style: CSS class for its colour, such as a state.
    """

    key: str
    title: str
    subtitle: str
    style: str


@dataclasses.dataclass(frozen=True)
class Box:
    """A node and its upper left corner, in pixels."""

    node: Node
    x: int
    y: int

    width, height = _WIDTH, _HEIGHT


@dataclasses.dataclass(frozen=True)
class Drawing:
    """The content of an SVG; `lines` are paths from box to box."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]


def draw_graph(nodes: Sequence[Node], edges: Iterable[tuple[str, str]]) -> Drawing:
    """Lays out a graph from left to right, each box one layer after the last that leads to it.

    Args:
      nodes: Boxes; their order is kept within a layer where the lines allow it.
      edges: Pairs of keys (from, to). Edges that close a cycle are left out.
    """
    keys = {node.key for node in nodes}
    lines = sorted({(a, b) for a, b in edges if a in keys and b in keys and a != b})
    layers = _layers([node.key for node in nodes], lines)
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(layers[node.key], []).append(node)
    rows = _rows(columns, lines)
    tallest = max((len(column) for column in columns.values()), default=0)
    height = 2 * _EDGE + tallest * _HEIGHT + max(tallest - 1, 0) * _GAP_Y
    boxes = {}
    for layer, column in sorted(columns.items()):
        used = len(column) * _HEIGHT + (len(column) - 1) * _GAP_Y
        for node in column:
            x = _EDGE + layer * (_WIDTH + _GAP_X)
            y = (height - used) // 2 + rows[node.key] * (_HEIGHT + _GAP_Y)
            boxes[node.key] = Box(node, x, y)
    width = 2 * _EDGE + len(columns) * _WIDTH + max(len(columns) - 1, 0) * _GAP_X
    paths = tuple(_path(boxes[a], boxes[b]) for a, b in lines if layers[a] < layers[b])
    return Drawing(width, height, tuple(boxes.values()), paths)


def _layers(keys: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    layers = dict.fromkeys(keys, 0)
    for _ in keys:  # enough rounds for any graph without a cycle, and an end for one with a cycle
        moved = False
        for a, b in edges:
            if layers[b] <= layers[a] < len(keys):
                layers[b] = layers[a] + 1
                moved = True
        if not moved:
            break
    used = {layer: n for n, layer in enumerate(sorted(set(layers.values())))}
    return {key: used[layer] for key, layer in layers.items()}


def _rows(columns: Mapping[int, list[Node]], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Returns each box's place in its column, beside its predecessors so that few lines cross."""
    rows: dict[str, int] = {}
    for layer in sorted(columns):
        before = {
            node.key: [rows[a] for a, b in edges if b == node.key and a in rows]
            for node in columns[layer]
        }
        place = {key: sum(found) / len(found) if found else 0.0 for key, found in before.items()}
        columns[layer].sort(key=lambda node: place[node.key])
        rows |= {node.key: row for row, node in enumerate(columns[layer])}
    return rows


def _path(start: Box, end: Box) -> str:
    x1, y1 = start.x + _WIDTH, start.y + _HEIGHT // 2
    x2, y2 = end.x, end.y + _HEIGHT // 2
    middle = (x1 + x2) // 2
    return f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
