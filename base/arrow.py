"""Makes pyarrow safe to read files with: every module that imports pyarrow imports this one.

pyarrow before 14.0.1 unpickles data of extension types in files (CVE-2023-47248). TFX 1.16 pins
version 10, so the package pyarrow-hotfix turns that off.
"""

from __future__ import annotations

import pyarrow

_FIXED_IN = (14, 0, 1)


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdecimal())


if _version() < _FIXED_IN:
    import pyarrow_hotfix  # noqa: F401  # without it files are not safe to read
