"""How many connections the server may open: a share of the file descriptors that it may."""

from __future__ import annotations

import contextlib
import resource

_MOST_FILES = 65_536
_SHARE = 4  # of all descriptors: one part for REST, one for gRPC, the rest for models and logs


def connections(wanted: int) -> int:
    """Returns how many connections REST and gRPC may have each; raises the soft limit for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return max(1, min(wanted, soft // _SHARE))
