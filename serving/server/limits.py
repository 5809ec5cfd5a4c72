"""Derives the limit of connections from the limit of file descriptors."""

from __future__ import annotations

import contextlib
import resource

_MAX_FILES = 65_536
_SHARE = 4  # a quarter of the descriptors for REST, another for gRPC, the rest for models and logs


def connection_limit(wanted: int) -> int:
    """Raises the soft limit of descriptors, and returns the limit of REST and gRPC each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft < limit:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            soft = limit
    return max(1, min(wanted, soft // _SHARE))
