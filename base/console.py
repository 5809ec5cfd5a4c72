"""Prints text from any origin safely, never as markup or as terminal commands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from base.redaction import redacted

# Control characters except tab and line feed, other line breaks, invisible characters and marks of
# text direction, and lone surrogates, which a terminal cannot encode.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Returns text with control and invisible characters escaped, such as \x1b."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Failure(click.ClickException):
    """Ends a command with one line, which may quote text from outside."""

    def __init__(self, message: object):
        super().__init__(visible(redacted(str(message))))


class PlainConsole(Console):
    """Prints text as it is, never as markup, emoji names or terminal commands.

    Styles are given by `style=` or `rich.text.Text`, not within the text.
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
