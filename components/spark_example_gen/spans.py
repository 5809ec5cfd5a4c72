"""Spans: which folders of a time-partitioned source make up one run.

TFX numbers spans: {SPAN} is the number itself, a date is its number of days since 1970-01-01. {HH}
is ours: with it a span is an hour, numbered in hours since 1970-01-01T00 UTC. This module is the
only place that turns patterns into paths; the driver uses it, and so does the executor where no
driver runs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterable
from pathlib import Path

from components.errors import ComponentError

_TOKEN = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD|HH)(?::(\d+))?\}")
_DIGITS = {"YYYY": 4, "MM": 2, "DD": 2, "HH": 2}


@dataclasses.dataclass(frozen=True)
class SpanRange:
    """Spans asked for: first..last, both included; `last=None` is the newest there is."""

    length: int = 1
    last: int | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ComponentError(
                f"a window of {self.length} spans holds nothing; ask for 1 or more"
            )


@dataclasses.dataclass(frozen=True)
class SpanFiles:
    """The files of each span that was found.

    Attributes:
      files: span -> sorted files, oldest span first. A source without span tokens has span 0.
      version: the newest version, taken of each span, of the last span; None without {VERSION}.
    """

    files: dict[int, tuple[Path, ...]]
    version: int | None

    @property
    def last(self) -> int:
        return max(self.files)

    def paths(self) -> list[Path]:
        return [path for span in sorted(self.files) for path in self.files[span]]


class SpanPattern:
    """A path pattern such as `logs/{YYYY}-{MM}-{DD}/{HH}/*.json.gz`."""

    def __init__(self, pattern: str):
        self.pattern = pattern
        self.tokens = {match.group(1) for match in _TOKEN.finditer(pattern)}
        dates = self.tokens & set(_DIGITS)
        if "SPAN" in self.tokens and dates:
            raise ComponentError(f"'{pattern}' mixes {{SPAN}} with a date; use one of the two")
        if dates and not {"YYYY", "MM", "DD"} <= dates:
            raise ComponentError(f"'{pattern}' needs {{YYYY}}, {{MM}} and {{DD}} together")
        if "VERSION" in self.tokens and not self.has_spans:
            raise ComponentError(f"'{pattern}' has {{VERSION}} without a span")

    @property
    def has_spans(self) -> bool:
        return bool(self.tokens - {"VERSION"})

    @property
    def hourly(self) -> bool:
        return "HH" in self.tokens

    def find(self, base: Path) -> dict[int, dict[int | None, list[Path]]]:
        """All matching files under `base`, by span and version."""
        glob = _TOKEN.sub(lambda match: "[0-9]*", self.pattern)
        expression = re.compile(self._expression())
        found: dict[int, dict[int | None, list[Path]]] = {}
        for path in sorted(base.glob(glob)):
            relative = path.relative_to(base).as_posix()
            match = expression.fullmatch(relative)
            if match is None or not path.is_file() or _hidden(relative):
                continue
            span, version = self._number(match.groupdict(), relative)
            found.setdefault(span, {}).setdefault(version, []).append(path)
        return found

    def _expression(self) -> str:
        """The pattern as a regular expression with one named group a token."""
        parts, position, seen = [], 0, set()
        for match in _TOKEN.finditer(self.pattern):
            token, width = match.group(1), match.group(2) or _DIGITS.get(match.group(1))
            parts.append(_glob_to_regex(self.pattern[position : match.start()]))
            digits = rf"\d{{{width}}}" if width else r"\d+"
            parts.append(f"(?P={token})" if token in seen else f"(?P<{token}>{digits})")
            seen.add(token)
            position = match.end()
        parts.append(_glob_to_regex(self.pattern[position:]))
        return "".join(parts)

    def _number(self, groups: dict[str, str], path: str) -> tuple[int, int | None]:
        version = int(groups["VERSION"]) if "VERSION" in groups else None
        if not self.has_spans:
            return 0, None
        if "SPAN" in groups:
            return int(groups["SPAN"]), version
        try:
            day = dt.date(int(groups["YYYY"]), int(groups["MM"]), int(groups["DD"]))
            hour = int(groups.get("HH", 0))
            if hour > 23:
                raise ValueError(f"hour {hour}")
        except ValueError as error:
            raise ComponentError(
                f"'{path}' holds no date ({error}); rename or remove it"
            ) from error
        days = (day - dt.date(1970, 1, 1)).days
        return (days * 24 + hour if self.hourly else days), version

    def describe(self, span: int) -> str:
        """The span as a person writes it."""
        if not self.tokens & set(_DIGITS):
            return f"span {span}"
        hours = span if self.hourly else span * 24
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(hours=hours)
        return (
            f"span {span} ({moment:%Y-%m-%dT%H})" if self.hourly else f"span {span} ({moment:%F})"
        )


def resolve(
    base: Path,
    pattern: SpanPattern,
    wanted: SpanRange,
    *,
    source: str,
    spans_after: int = 0,
    missing: str = "error",
) -> SpanFiles:
    """Finds the files of the wanted spans.

    Raises:
      ComponentError: no such folder, nothing there, a span that is asked for and missing, or a hole
        in the window or behind it (unless `missing='allow'`).
    """
    if not base.is_dir():
        raise ComponentError(f"source '{source}': the folder {base} does not exist")
    found = pattern.find(base)
    if not found:
        raise ComponentError(
            f"source '{source}': no file matches {pattern.pattern} under {base}; "
            "check the path in the config, or make the data first"
        )
    if not pattern.has_spans:
        return SpanFiles({0: tuple(found[0][None])}, None)
    last = max(found) if wanted.last is None else wanted.last
    window = range(last - wanted.length + 1, last + 1)
    holes = [span for span in window if span not in found]
    if last in holes or (holes and missing == "error"):
        raise ComponentError(_missing_message(source, pattern, holes, found))
    after = range(last + 1, last + 1 + spans_after)
    late = [span for span in after if span not in found]
    if late and missing == "error":
        raise ComponentError(_missing_message(source, pattern, late, found))
    spans = [span for span in (*window, *after) if span in found]
    chosen = {span: max(found[span], key=lambda v: -1 if v is None else v) for span in spans}
    files = {span: tuple(found[span][version]) for span, version in chosen.items()}
    return SpanFiles(files, chosen[last])


def _missing_message(
    source: str, pattern: SpanPattern, holes: list[int], found: Iterable[int]
) -> str:
    named = ", ".join(pattern.describe(span) for span in holes[:3])
    more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
    return (
        f"source '{source}': missing {named}{more}; there is {pattern.describe(min(found))} to "
        f"{pattern.describe(max(found))}. Choose another --span or window, or set "
        "missing_spans: allow for this source"
    )


def _hidden(relative: str) -> bool:
    """Spark skips names that begin with '_' or '.'; so do we, or counts would not agree."""
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _glob_to_regex(text: str) -> str:
    """`*` and `?` within one path segment; everything else is literal."""
    return re.escape(text).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
