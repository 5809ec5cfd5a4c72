"""Text from outside is printed as text."""

from __future__ import annotations

import io

import pytest
from rich.table import Table
from rich.text import Text

from base.console import Failure, PlainConsole, visible

pytestmark = pytest.mark.unit

BAD = "a[/x] [bold]b[/bold] :smile: \x1b[31mred\x1b]0;title\x07 \u202egnp.exe \x9b2J \r\b c\ud800"


def printed(*content: object, terminal: bool) -> str:
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=terminal, width=200, color_system=None)
    for one in content:
        console.print(one)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_markup_and_commands_are_text_wherever_they_stand(terminal: bool) -> None:
    table = Table("column [/y]")
    table.add_row(BAD)
    shown = printed(BAD, Text(BAD), table, Text.assemble(("style", "bold"), BAD), terminal=terminal)
    assert shown.count("a[/x] [bold]b[/bold] :smile: \\x1b[31mred") == 4
    assert "column [/y]" in shown
    for character in "\x1b\x07\x9b\r\b\u202e":
        assert character not in shown
    shown.encode("utf-8")


def test_styles_of_our_own_are_still_styles() -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, color_system="standard", width=80)
    console.print(Text.assemble(("Error:", "bold red"), " a\nb\tc"))
    assert "\x1b[1;31mError:\x1b[0m a" in file.getvalue()


def test_an_error_quotes_what_came() -> None:
    assert Failure(f"no such row: {BAD}").message == f"no such row: {visible(BAD)}"
    assert visible("plain ä\n\ttext 日本") == "plain ä\n\ttext 日本"
