"""The one way to print: text is text, wherever it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from base.redaction import redacted

# Control characters but for tab and line feed; other ends of lines; what turns the direction of
# text or is not seen; halves of a character, which no terminal can be sent.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""The text with what a terminal would obey written out, such as \x1b."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Failure(click.ClickException):
    """Ends a command with a line; what it quotes may come from anywhere."""

    def __init__(self, message: object):
        super().__init__(visible(redacted(str(message))))


class PlainConsole(Console):
    """Prints text from outside as it is: never as markup, an emoji's name or a terminal's command.

    Styles are given as such (`style=`, `rich.text.Text`), not within the text.
    """

    def __init__(self, **options: Any):
        super().__init__(**{**options, "markup": False, "emoji": False, "highlight": False})

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(redacted(text), **options)  # before it is broken into lines

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(redacted(segment.text)), segment.style)
