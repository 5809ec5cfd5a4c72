"""Which users get the canary: a stable share of them, by a hash of the user's id."""

from __future__ import annotations

import hashlib

from components.pusher.release import CANARY, STABLE

_BUCKETS = 10_000


def arm_of(user_id: str, canary_percent: float, experiment: str = "") -> str:
    """The label to ask for: the same user always gets the same one.

    A higher percentage keeps all who had the canary before. Another `experiment` (the model's
    name, say) splits users anew, so that it is not always the same ones who try things out.
    """
    digest = hashlib.sha256(f"{experiment}\0{user_id}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % _BUCKETS
    return CANARY if bucket < canary_percent * _BUCKETS / 100 else STABLE
