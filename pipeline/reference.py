"""Writes docs/configuration.md, the reference of all keys of a config: python -m pipeline.reference

Each table is made from the class that checks the section, so the reference says what is checked.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel

from base.atomic_files import write_text
from base.console import Failure
from pipeline.command_line import console
from pipeline.config import PipelineConfig
from pipeline.kubeflow_section import Kubeflow, Step
from pipeline.reference_words import any_of, default_words, sentence, type_words
from pipeline.sections import Trainer
from spark_io.sources.outcomes import Outcome
from spark_io.sources.source import Source
from spark_io.sources.source_types import KINDS
from tabular.parameters import TrainerParameters

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "configuration.md"
EXAMPLES = Path(__file__).with_name("reference_examples.yaml")

# Keys whose values are checked by a class that their type does not name.
_CHECKED_BY: dict[tuple[type, str], type[BaseModel]] = {
    (Kubeflow, "steps"): Step,
    (Trainer, "parameters"): TrainerParameters,
}
_SOURCES, _OUTCOME = "sources", "sources: outcome"
_TAKES = {  # where a validator takes more than the type of what it returns
    "evaluator.metrics": "list of metrics",
    "evaluator.thresholds": "map of metrics to [sections](#evaluatorthresholds), to lists of them, "
    "or to null",
    "sources": "map of names to [sources](#sources), at least one",
    "kubeflow.steps": "map of names to [sections](#kubeflowsteps)",
}
_INTRODUCTION = """\
# Configuration

`python -m pipeline.reference` writes this page from the classes that check a config, so it lists
every key there is. Each table has the keys of one section, in the order of a config file.

- A config is a YAML file. Commands take it as `--config FILE`.
- `--set KEY=VALUE` replaces one value, such as `--set trainer.parameters.epochs=4`. The value is
  YAML.
- `extends: other.yaml` takes the keys of another file in the same folder. Sections are merged key
  by key. Any other value replaces the earlier one, also `null` and a list.
- Paths are relative to the folder in which a command starts.
- An unknown key is an error, which names the key that is spelled most like it.
- A config never holds a secret. It names the environment variable that does: `password_env`,
  `options_env`, `token_env`.
- `python -m applications check NAME` finds all mistakes of a config at once.
"""
_ABOUT_SOURCES = """\
Spark reads the sources, and the application's `build_examples` gets them by their names. The first
one is the primary source, which decides the spans. Paths are relative to `data_root`, which the
tables call `input_base`.

`kind: stream` reads the hours of the stream of that name in the section [streaming](#streaming),
whose columns and outcome it takes. `kind: past` is a source named `past`: what the application's
`aggregations` need of the hours before the window. Both take the other keys of `kind: file`.
"""


@dataclasses.dataclass(frozen=True)
class Key:
    """A row of a table, in Markdown."""

    name: str
    takes: str
    default: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The keys of one section.

    Attributes:
      title: Dotted path of the section; empty for the top of a config.
      text: Description of the section, in Markdown.
      keys: Its keys, in the order of their declaration.
      example: Its example in YAML; empty without one.
    """

    title: str
    text: str
    keys: tuple[Key, ...]
    example: str = ""

    def __str__(self) -> str:
        level = 2 if "." not in self.title and ":" not in self.title else 3
        heading = f"{'#' * level} `{self.title}`" if self.title else "## The top of a config"
        rows = [f"| `{k.name}` | {k.takes} | {k.default} | {k.meaning} |" for k in self.keys]
        table = "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows])
        example = f"```yaml\n{self.example}```\n" if self.example else ""
        parts = (heading, self.text, example.strip(), table if rows else "")
        return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def reference() -> str:
    """Returns the whole page."""
    return "\n".join([_INTRODUCTION, *map(str, tables())])


def tables() -> list[Table]:
    """Returns a table for each section, in the order of a config file."""
    found = dict(_sections(PipelineConfig, ""))
    anchors = {model: _anchor(title) for model, title in found.items()} | {
        Outcome: _anchor(_OUTCOME)
    }
    examples = yaml.safe_load(EXAMPLES.read_text("utf-8"))
    made: list[Table] = []
    for model, title in found.items():
        made.append(_of_model(model, title, anchors, examples.get(title, "")))
    place = next(n for n, table in enumerate(made) if table.title == "evaluator")
    return [*made[:place], *_source_tables(anchors, examples[_SOURCES]), *made[place:]]


def _anchor(title: str) -> str:
    """Returns the anchor that GitHub gives to a heading."""
    return re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")


def _sections(model: type[BaseModel], title: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Yields each section with its dotted path, before those within it. The first path counts."""
    seen: dict[type[BaseModel], str] = {}

    def visit(one: type[BaseModel], path: str) -> None:
        if one in seen:
            return
        seen[one] = path
        for name, field in one.model_fields.items():
            inner = _CHECKED_BY.get((one, name))
            for found in [inner] if inner else _models_in(field.annotation):
                visit(found, f"{path}.{field.alias or name}".lstrip("."))

    visit(model, title)
    yield from seen.items()


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in typing.get_args(annotation) for found in _models_in(inner)]


def _of_model(
    model: type[BaseModel], title: str, anchors: Mapping[type, str], example: str
) -> Table:
    keys = []
    for name, field in model.model_fields.items():
        kind = _CHECKED_BY.get((model, name), field.annotation)
        words = _TAKES.get(f"{title}.{name}".lstrip("."))
        takes = words or type_words(kind, anchors, field.metadata)
        meaning = sentence(field.description, ROOT) if field.description else ""
        keys.append(Key(field.alias or name, takes, default_words(field), meaning))
    text = "" if title == "" else _paragraphs(_docstring(model)[0])
    return Table(title, text, tuple(keys), example)


def _source_tables(anchors: Mapping[type, str], example: str) -> Iterator[Table]:
    """Yields the table of what every source has, one for each kind, and that of outcomes."""
    kinds = any_of([f"`{kind}`" for kind in (*KINDS, "stream", "past")])
    kind = Key("kind", kinds, "`file`", "Kind of the source.")
    common = _of_dataclass(Source, _SOURCES, anchors, ())
    yield Table(_SOURCES, _ABOUT_SOURCES, (kind, *common.keys), example)
    for name, source in KINDS.items():
        yield _of_dataclass(source, f"{_SOURCES}: kind {name}", anchors, _names(Source))
    yield _of_dataclass(Outcome, _OUTCOME, anchors, ())


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _of_dataclass(
    kind: type, title: str, anchors: Mapping[type, str], without: tuple[str, ...]
) -> Table:
    """Returns the table of a dataclass, whose docstring and those of its bases describe the keys.

    Args:
      kind: The dataclass.
      title: Title of the table.
      anchors: Class of a section -> anchor of its table.
      without: Keys that another table has.
    """
    described: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        described |= _docstring(base)[1]
    hints = typing.get_type_hints(kind, include_extras=True)
    keys = [
        Key(
            field.name,
            type_words(hints[field.name], anchors),
            default_words(field),
            sentence(described[field.name], ROOT) if field.name in described else "",
        )
        for field in dataclasses.fields(kind)
        if field.name not in without
    ]
    return Table(title, _paragraphs(_docstring(kind)[0]), tuple(keys))


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Returns the text of a class's own docstring, and the entries of `Attributes`."""
    whole = inspect.cleandoc(kind.__doc__ or "")
    text, _, rest = whole.partition("Attributes:\n")
    text = re.split(r"\n(?:Class attributes|Raises):\n", text)[0]
    attributes = re.split(r"\n\S", rest)[0]
    entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", attributes, re.MULTILINE)
    return text.strip(), dict(entries)


def _paragraphs(text: str) -> str:
    return "\n\n".join(sentence(one, ROOT) for one in text.split("\n\n") if one.strip())


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=FILE,
              help="File to write; by default docs/configuration.md.")  # fmt: skip
def main(out: Path) -> None:
    """Writes the reference of all keys of a config."""
    try:
        write_text(out, reference())
    except OSError as error:
        raise Failure(f"cannot write {out}: {error.strerror}. Choose another --out") from None
    console().print(f"wrote {out}")


if __name__ == "__main__":
    main()
