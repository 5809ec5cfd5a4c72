"""docs/troubleshooting.md quotes messages that the code still has."""

from __future__ import annotations

import ast
import functools
import re

import pytest

from tests.product import ROOT, modules

pytestmark = pytest.mark.unit

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
MESSAGES = [line.strip() for line in PAGE.splitlines() if line.startswith("    ")]
FEWEST_FIXED = 10  # letters of a message that do not depend on data


@functools.cache
def templates() -> list[tuple[list[str | None], str]]:
    """Returns the texts of the code, in parts with None for what varies, and their places."""
    found = []
    for path in modules():
        tree = ast.parse(path.read_text("utf-8"))
        nodes = [*ast.walk(tree)]
        within = {id(p) for n in nodes if isinstance(n, ast.JoinedStr) for p in n.values}
        for node in nodes:
            if not isinstance(node, ast.JoinedStr | ast.Constant) or id(node) in within:
                continue
            parts = texts_of(node)
            if parts:
                found.append((parts, f"{path.relative_to(ROOT)}:{node.lineno}"))
    return found


def texts_of(node: ast.JoinedStr | ast.Constant) -> list[str | None]:
    """Returns the parts of a text, with None for what varies; nothing of another constant."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    fixed = [part.value if isinstance(part, ast.Constant) else None for part in parts]
    return [text for text in fixed if text is None or isinstance(text, str)]


def letters_of(parts: list[str | None]) -> int:
    return sum(len(part) for part in parts if part is not None)


def covered(message: str, parts: list[str | None]) -> int:
    """Returns how many letters of a message a text of the code stands for; 0 if it does not."""
    begin, position = None, 0
    for part in parts:
        if part is not None:
            at = message.find(part, position)
            if at < 0:
                return 0
            begin, position = (at if begin is None else begin), at + len(part)
    first = 0 if parts[0] is None else begin or 0
    return (len(message) if parts[-1] is None else position) - first


def source_of(message: str) -> str | None:
    """Returns the place in the code whose text is most of a message, or None."""
    most, place = FEWEST_FIXED - 1, None
    for parts, where in templates():
        letters = letters_of(parts)
        if letters > most and covered(message, parts) > len(message) / 2:
            most, place = letters, where
    return place


def test_the_page_explains_at_least_ten_errors() -> None:
    headings = re.findall(r"^## ", PAGE, re.MULTILINE)
    assert len(headings) >= 10
    assert len(MESSAGES) >= 20


@pytest.mark.parametrize("message", MESSAGES, ids=lambda text: text[:40])
def test_a_quoted_message_is_in_the_code(message) -> None:
    assert source_of(message), "no text in the code is like it; run the command and quote again"


def test_a_message_that_nobody_wrote_is_not_found() -> None:
    assert source_of("trainer.epochs: the number of epochs has to be odd") is None
