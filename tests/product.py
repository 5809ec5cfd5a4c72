"""Which folders are the product: every package but these tests and what is around the product."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_AROUND = ("tests", "benchmarks")
PACKAGES = sorted(
    path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in _AROUND
)


def modules() -> list[Path]:
    """Returns all Python files of the product."""
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def config_path(name: str) -> str:
    """Returns the path of a config of ours by its name, relative to the root."""
    (path,) = ROOT.glob(f"applications/*/configs/{name}.yaml")
    return str(path.relative_to(ROOT))
