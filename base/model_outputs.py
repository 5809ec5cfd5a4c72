"""The outputs of a served model: its score, and the decision that may be beside it.

Trainer, Evaluator, servers, clients and batch scoring read a model's answer, so they share these
names.
"""

from __future__ import annotations

from collections.abc import Iterable

from base.shared_names import ASSETS_EXTRA

DECISION = "decision"  # int64 [n, 1], 1 for an example that is to be reviewed
DECISION_FILE = f"{ASSETS_EXTRA}/decision.json"  # in the exported model: how it was chosen


def score_outputs(outputs: Iterable[str]) -> list[str]:
    """Returns the names of the outputs that are not the decision, sorted."""
    return sorted(name for name in outputs if name != DECISION)
