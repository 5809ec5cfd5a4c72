"""Assigns a stable share of the units, such as the values of a key, to the canary, by a hash."""

from __future__ import annotations

import hashlib

from components.pusher.release import CANARY, STABLE

_BUCKETS = 10_000


def arm_of(unit: str, canary_percent: float, experiment: str = "") -> str:
    """Returns the label to ask for, which is always the same for the same unit.

    A higher percentage keeps all units that already had the canary. Another `experiment`, such as
    the name of another model, splits the units differently.

    Args:
      unit: Text that identifies what is assigned, such as the value of a key.
      canary_percent: Share of the canary in percent.
      experiment: Name of the experiment.
    """
    digest = hashlib.sha256(f"{experiment}\0{unit}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % _BUCKETS
    return CANARY if bucket < canary_percent * _BUCKETS / 100 else STABLE
