"""Hashes the source code behind a dotted path.

TFX's cache key holds only the name of a function. Without this hash, an edited ETL or model would
be served from the cache.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path

from base.errors import ComponentError

# Packages of this project that an application in any folder may import.
OURS = ("base", "components", "features", "metadata", "pipeline", "spark_io", "tabular")
_OUR_ROOT = Path(__file__).resolve().parents[1]


def code_sha256(*dotted_paths: str) -> str:
    """Hashes the modules that hold `dotted_paths` and all of the project that they import.

    The project is the folder that holds the module's top-level package. Installed libraries are
    not hashed, because the lock file pins them. Imports are parsed, not executed.

    Args:
      dotted_paths: Paths such as `package.module` or `package.module.function`.

    Returns:
      Hexadecimal SHA-256 of names and contents, independent of the project's folder.

    Raises:
      ComponentError: A path has no module, or the module cannot be parsed.
    """
    digest = hashlib.sha256()
    found = {name: f for path in dotted_paths for name, f in module_closure(path).items()}
    for name, file in sorted(found.items()):
        digest.update(name.encode())
        digest.update(b"\0")
        digest.update(file.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def module_closure(dotted_path: str) -> dict[str, Path]:
    """Returns the modules that `dotted_path` reaches by imports, as name -> file.

    For an application in another folder, the modules of this project that it imports count too.
    """
    root = _project_root(dotted_path)
    start = _module_of(root, dotted_path)
    if start is None:
        raise ComponentError(f"'{dotted_path}' is not a module of this project; correct the path")
    closure: dict[str, Path] = {}
    waiting = [start]
    while waiting:
        name = waiting.pop()
        file = _module_file(root, name)
        if name in closure or file is None:
            continue
        closure[name] = file
        parent = name.rpartition(".")[0]  # an import also runs the __init__ of its packages
        waiting += _imported_modules(root, name, file) + ([parent] if parent else [])
    return closure


def _project_root(dotted_path: str) -> Path:
    top = dotted_path.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ComponentError(
            f"'{dotted_path}' cannot be found: no package '{top}' beside the project or installed"
        )
    if spec.submodule_search_locations:  # a package, with or without an __init__.py
        return Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if spec.origin is None or not Path(spec.origin).is_file():
        raise ComponentError(f"'{dotted_path}' is built into Python; it has no source to hash")
    return Path(spec.origin).resolve().parent


def _module_file(root: Path, name: str) -> Path | None:
    roots = [root, _OUR_ROOT] if name.partition(".")[0] in OURS else [root]
    for folder in roots:
        base = folder.joinpath(*name.split("."))
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _module_of(root: Path, dotted_path: str) -> str | None:
    """Returns the module of a path: `a.b.c` if it exists, or else `a.b`."""
    parts = dotted_path.split(".")
    for name in (dotted_path, ".".join(parts[:-1])):
        if name and _module_file(root, name) is not None:
            return name
    return None


def _imported_modules(root: Path, name: str, file: Path) -> list[str]:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise ComponentError(
            f"{name} is not valid Python: {error.msg}, line {error.lineno}"
        ) from error
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: climb from the module's package
                climbed = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*climbed, base] if base else climbed)
            found += [f"{base}.{alias.name}" for alias in node.names] + [base]
    modules = [_module_of(root, candidate) for candidate in found if candidate]
    return [module for module in modules if module]
