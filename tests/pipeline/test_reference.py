"""docs/configuration.md: complete, current, and correct Markdown."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml

from base.console import Failure
from base.section import Section
from pipeline.config import PipelineConfig
from pipeline.reference import EXAMPLES, FILE, Table, main, reference, tables
from pipeline.stream_sources import expand
from tests.product import ROOT

pytestmark = pytest.mark.unit

ROWS = [(table.title, key) for table in tables() for key in table.keys]


def test_the_committed_page_is_current() -> None:
    written = FILE.read_text("utf-8")
    assert written == reference(), "run: python -m pipeline.reference"


def test_the_command_writes_the_page(tmp_path, capsys) -> None:
    main(["--out", str(tmp_path / "page.md")], standalone_mode=False)
    assert (tmp_path / "page.md").read_text("utf-8") == reference()
    assert "page.md" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_a_one_line_error(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match=r"cannot write .*page\.md: .*\. Choose another --out"):
        main(["--out", str(tmp_path / "file" / "page.md")], standalone_mode=False)


def every_section() -> list[type[Section]]:
    found: list[type[Section]] = []
    left = [Section]
    while left:
        left += (kinds := left.pop().__subclasses__())
        found += kinds
    return [kind for kind in found if kind.__module__.startswith("pipeline.")]


def test_every_section_has_a_table() -> None:
    keys = [{key.name for key in table.keys} for table in tables()]
    assert len(every_section()) > 25
    for section in every_section():
        own = {field.alias or name for name, field in section.model_fields.items()}
        assert not own or own in keys, section


@pytest.mark.parametrize(("title", "key"), ROWS, ids=lambda part: getattr(part, "name", part))
def test_a_key_is_described(title, key) -> None:
    assert key.meaning, f"{title}.{key.name} has no description"
    assert key.meaning[-1] in ".?!"
    assert key.meaning.count("`") % 2 == 0
    first = re.match(r"[a-z]+(?= )", key.meaning)
    assert not first, f"{key.meaning} begins like a part of a sentence"
    assert key.takes
    assert key.default


def test_no_table_has_a_key_twice() -> None:
    assert [key for key, times in Counter((t, k.name) for t, k in ROWS).items() if times > 1] == []


def test_sections_are_in_the_order_of_a_config() -> None:
    top = [table.title for table in tables() if not set(".:") & set(table.title)]
    names = [field.alias or name for name, field in PipelineConfig.model_fields.items()]
    assert top == ["", *(name for name in names if name in top)]


def test_every_row_has_four_cells() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("|")]
    assert len(rows) > len(ROWS)
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, row


def test_every_link_leads_somewhere() -> None:
    page = reference()
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    anchors = [re.sub(r"[^a-z0-9_ -]", "", one.lower()).replace(" ", "-") for one in titles]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(([^)]*)\)", page)
    assert len(links) > 50
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        else:
            assert (FILE.parent / link).resolve().is_relative_to(ROOT)
            assert (FILE.parent / link).exists(), link


def test_the_examples_are_one_valid_config() -> None:
    examples = yaml.safe_load(EXAMPLES.read_text("utf-8"))
    assert examples.keys() <= {table.title for table in tables()}, "an example without a section"
    config: dict[str, object] = {}
    for title, text in examples.items():
        content = yaml.safe_load(text)
        assert not title or [*content] == [title]
        config |= content
    read = PipelineConfig.model_validate(expand(config))
    assert read.streaming is not None


def test_a_text_with_a_bar_stays_in_its_cell() -> None:
    from pipeline.reference_words import sentence

    assert sentence("a|b", ROOT) == "a\\|b."


def test_a_table_without_keys_is_its_text_alone() -> None:
    assert str(Table("name", "Text.", ())) == "## `name`\n\nText.\n"
