"""Makes pyarrow safe to read files with: every module that imports pyarrow imports this one.

pyarrow before 14.0.1 unpickles what an extension type in a file says (CVE-2023-47248). TFX 1.16
holds it at 10; the package pyarrow-hotfix turns that off.
"""

from __future__ import annotations

import pyarrow

_MENDED = (14, 0, 1)


def _version() -> tuple[int, ...]:
    return tuple(int(part) for part in pyarrow.__version__.split(".")[:3] if part.isdecimal())


if _version() < _MENDED:
    import pyarrow_hotfix  # noqa: F401  # without it nothing that reads files is to run
