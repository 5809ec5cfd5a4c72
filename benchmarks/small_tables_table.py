"""The table of the benchmark small_tables."""

from __future__ import annotations

from typing import Any

_CANDIDATES = {
    "trees": "trees",
    "network": "network, defaults by rows",
    "network_2_epochs": "network, 2 passes in batches of 1,024",
}


def small_tables(result: dict[str, Any]) -> str:
    """Kind of table x candidate -> AUC, log loss and the time of a table."""
    lines = ["| table | model | AUC | log loss | seconds |", "|---|---|---|---|---|"]
    for kind, figures in result["figures"].items():
        for name, label in _CANDIDATES.items():
            found = figures[name]
            auc, loss = _with_range(found, "auc"), _with_range(found, "log_loss")
            lines.append(f"| {kind} | {label} | {auc} | {loss} | {found['seconds']:.0f} |")
        lines.append(f"| {kind} | best reachable | | {figures['best_log_loss']:.4f} | |")
    return "\n".join(lines)


def _with_range(found: dict[str, Any], metric: str) -> str:
    low, high = found[f"{metric}_range"]
    return f"{found[metric]:.4f} ({low:.4f} to {high:.4f})"
