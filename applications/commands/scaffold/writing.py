"""Renders an application's files from its plan, and writes them all or none.

Names and values of the data become literals of Python or YAML only, never code or paths.
"""

from __future__ import annotations

import ast
import json
import keyword
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from applications.commands.scaffold.data_files import DataFiles
from applications.commands.scaffold.missing import MISSING
from applications.commands.scaffold.plan import Plan
from applications.commands.scaffold.profile import TableProfile
from base.atomic_files import whole_folder
from base.errors import ComponentError
from tabular.feature_set import PREDICTIONS

_NOT_NAMES = ("applications", "commands", "sample_files", "template", "application", "etl")
_MOST_SLICES = 20


def check_name(name: str) -> None:
    """Raises ComponentError unless `name` can be that of a package and of a pipeline."""
    usable = name.isascii() and name.isidentifier() and name == name.lower() and name[0].isalpha()
    if not usable or keyword.iskeyword(name) or name in _NOT_NAMES:
        raise ComponentError(
            f"NAME: expected lower-case letters, digits and underscores, such as churn, and none "
            f"of Python's own words. Received: {name!r}"
        )


def python_literal(value: object) -> str:
    """Returns a value as Python that is printable on one line, with double quotes if possible."""
    text = repr(value)
    if isinstance(value, str) and text.startswith("'") and '"' not in text and "\\" not in text:
        return f'"{text[1:-1]}"'
    return text


def yaml_literal(text: str) -> str:
    """Returns a text in double quotes, as YAML escapes it."""
    return yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=True).strip()


def one_line(text: str) -> str:
    """Returns a text for a comment, with line breaks and invisible characters escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def render(
    name: str,
    package: str,
    schema: str,
    files: DataFiles,
    profile: TableProfile,
    plan: Plan,
) -> dict[str, str]:
    """Returns relative path -> content of an application's files.

    Raises:
      ComponentError: A name of the data cannot be written; this would be a fault of the templates.
    """
    templates = Environment(
        loader=PackageLoader(__package__, "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Python and YAML, which the filters escape
    )
    templates.filters |= {"py": python_literal, "yaml": yaml_literal, "comment": one_line}
    facts = _facts(name, package, schema, files, profile, plan)
    found = {
        "__init__.py": f'"""Predicts {plan.label.feature}; see application.py."""\n',
        "application.py": templates.get_template("application.py.j2").render(facts),
        "etl.py": templates.get_template("etl.py.j2").render(facts),
        f"configs/{name}.yaml": templates.get_template("config.yaml.j2").render(facts),
        "README.md": templates.get_template("README.md.j2").render(facts),
    }
    _check(found, name, plan)
    return found


def write(folder: Path, contents: Mapping[str, str]) -> None:
    """Writes files into a new folder, which appears whole or not at all.

    Raises:
      ComponentError: The folder exists, or cannot be written.
    """
    if folder.exists():
        raise ComponentError(f"{folder} exists and is not overwritten; choose another NAME")
    try:
        with whole_folder(folder) as partial:
            for path, content in contents.items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_text(content, "utf-8")
    except OSError as error:
        raise ComponentError(f"cannot write {folder}: {error.strerror or error}") from error


def remove(folder: Path) -> None:
    """Removes a folder that `write` made."""
    shutil.rmtree(folder, ignore_errors=True)


def _facts(
    name: str,
    package: str,
    schema: str,
    files: DataFiles,
    profile: TableProfile,
    plan: Plan,
) -> dict[str, Any]:
    learned = [one for one in plan.columns if one.declaration]
    flagged = [one for one in learned if one.flag]
    used = [one for one in plan.columns if one.treatment != "left out"]
    kinds = {one.declaration[0] for one in learned} | {"FeatureSet"}
    sliced = [
        one
        for one in plan.having("text")
        if 2 <= next(c for c in profile.columns if c.column == one.column).distinct <= _MOST_SLICES
    ]
    return {
        "name": name,
        "package": package,
        "pipeline": name.replace("_", "-").strip("-"),
        "source": name,
        "schema": schema,
        "files": files,
        "options": {**files.options, **profile.options},
        "profile": profile,
        "plan": plan,
        "task_reason": f"A {plan.task} task, {plan.reason}.",
        "kinds": sorted(kinds | ({"Ordinal"} if flagged else set())),
        "keys": plan.having("key", "time"),
        "times": plan.having("time"),
        "learned": learned,
        "flagged": flagged,
        "left_out": plan.having("left out"),
        "used": used,
        "missing": MISSING,
        "rejected": f"{plan.rejected:,} of {profile.rows:,}",
        "prediction": PREDICTIONS[plan.task],
        "slice": sliced[0].feature if sliced else "",
    }


def _check(contents: Mapping[str, str], name: str, plan: Plan) -> None:
    """Reads the files again, and compares the names of columns with those of the data."""
    config = yaml.safe_load(contents[f"configs/{name}.yaml"])
    (source,) = config["sources"].values()
    wanted = {one.column: one.type for one in plan.columns if one.treatment != "left out"}
    if source["columns"] != wanted:
        raise ComponentError(
            f"a column's name cannot be written to a config: {json.dumps(sorted(wanted))[:200]}"
        )
    constants: dict[str, Any] = {}
    ast.parse(contents["application.py"])
    for node in ast.parse(contents["etl.py"]).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign):
            constants[target.id] = ast.literal_eval(node.value)
    texts = {one.feature: one.column for one in plan.having("text")}
    if constants.get("TEXTS", {}) != texts or constants.get("LABELS", {}) != plan.labels:
        raise ComponentError("a value of the data cannot be written to etl.py; this is a fault")
