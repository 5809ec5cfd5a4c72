"""Assigns a stable share of the users to the canary, by a hash of the user's id."""

from __future__ import annotations

import hashlib

from components.pusher.release import CANARY, STABLE

_BUCKETS = 10_000


def arm_of(user_id: str, canary_percent: float, experiment: str = "") -> str:
    """Returns the label to ask for, which is always the same for the same user.

    A higher percentage keeps all users who already had the canary. Another `experiment`, such as
    the name of another model, splits the users differently.
    """
    digest = hashlib.sha256(f"{experiment}\0{user_id}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % _BUCKETS
    return CANARY if bucket < canary_percent * _BUCKETS / 100 else STABLE
