"""Prints the measurements of a load."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from serving.client.load import PERCENTILES, LoadResult

_BAR_WIDTH = 40
_MIN_MS = 1.0


def print_load(load: LoadResult, out: Console) -> None:
    """Prints percentiles, errors, and a histogram of the latencies in exponential steps."""
    answered = len(load.latencies_ms)
    out.print(
        f"{load.requests:,} requests in {load.seconds:g} s ({load.rate:g}/s asked for), "
        f"{answered:,} answered, {load.requests - answered:,} rejected or late"
    )
    for error, count in sorted(load.errors.items(), key=lambda item: -item[1]):
        out.print(f"  {count:,} times {error}")
    if not answered:
        return
    for version, count in sorted(load.versions.items()):
        out.print(f"  {count:,} by version {version}")
    figures = "  ".join(f"p{q:g} {load.percentile(q):.1f}" for q in PERCENTILES)
    out.print(f"latency in ms: {figures}  max {load.latencies_ms.max():.1f}")
    steps = int(np.ceil(2 * np.log2(max(2.0, load.latencies_ms.max() / _MIN_MS))))
    edges = _MIN_MS * 2 ** (np.arange(steps + 1) / 2)
    counts, _ = np.histogram(np.maximum(load.latencies_ms, _MIN_MS), edges)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "█" * int(np.ceil(_BAR_WIDTH * count / counts.max()))
        if count or low > load.percentile(50):
            out.print(f"  {low:7.1f} - {high:7.1f} ms {count:8,} {bar}")
