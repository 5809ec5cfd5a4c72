"""Selects the spans of a time-partitioned source that one run reads.

TFX numbers spans: {SPAN} is the number itself, a date is its number of days since 1970-01-01. {HH}
is our addition: a span is then an hour, numbered in hours since 1970-01-01T00 UTC. Databases and
topics have spans by the time of their rows. Only this module selects spans, for the driver and, in
runs without a driver, for the Spark job.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable

from base.durations import HOUR_MS
from base.errors import ComponentError
from spark_io.sources.span_index import SpanIndex, indexed_spans

_TOKEN = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD|HH)(?::(\d+))?\}")
_DIGITS = {"YYYY": 4, "MM": 2, "DD": 2, "HH": 2}
HOUR_US = 3_600_000_000


@dataclasses.dataclass(frozen=True)
class SpanRange:
    """A request for spans.

    Attributes:
      length: Number of spans.
      last: Last span; None for the newest one.
      at_most: Bound on the newest one: later spans are not complete in all sources.
    """

    length: int = 1
    last: int | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ComponentError(f"a window must have 1 span or more. Received: {self.length}")


@dataclasses.dataclass(frozen=True)
class Around:
    """The spans that a source reads beside the window of a run, and those that may be missing.

    Attributes:
      before, after: Numbers of spans before and after the window.
      open: Number of the last spans after the window that may not have arrived yet.
      missing: 'error', or 'allow' for spans that stay empty. A missing span without a newer one may
        still arrive, and is always an error.
      waits_ms: Time after the window up to which a source with an index must be complete.
    """

    before: int = 0
    after: int = 0
    open: int = 0
    missing: str = "error"
    waits_ms: int = 0


@dataclasses.dataclass(frozen=True)
class SpanFiles:
    """The files of each span that was found.

    Attributes:
      files: Span -> sorted paths of its newest version, oldest span first. A source without span
        tokens has span 0.
      version: Version of the last span; None without {VERSION}.
    """

    files: dict[int, tuple[str, ...]]
    version: int | None

    def paths(self) -> list[str]:
        return [path for span in sorted(self.files) for path in self.files[span]]


class SpanPattern:
    """A path pattern such as `logs/{YYYY}-{MM}-{DD}/{HH}/*.json.gz`."""

    def __init__(self, pattern: str):
        self.pattern = pattern
        self.tokens = {match.group(1) for match in _TOKEN.finditer(pattern)}
        rest = _TOKEN.sub("", pattern)
        if "**" in rest or set(rest) & set("[]{}\\"):
            raise ComponentError(
                f"'{pattern}': beside span tokens only * and ? are known, within one folder"
            )
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

    @property
    def period_ms(self) -> int | None:
        """Length of a span in milliseconds; None unless spans are hours or days."""
        if self.hourly:
            return HOUR_MS
        return 24 * HOUR_MS if "YYYY" in self.tokens else None

    def segments(self) -> list[Callable[[str], bool]]:
        """Returns a test of names for each folder of the pattern, and for its files.

        Tokens match any number of digits, so that `find` can report a date of the wrong length.
        """
        tests = []
        for segment in self.pattern.split("/"):
            parts = (_glob_to_regex(part) for part in _TOKEN.sub("\0", segment).split("\0"))
            tests.append(_full_match(r"\d+".join(parts)))
        return tests

    def wildcard_folders(self, path: str) -> list[str]:
        """Returns the folders of a path that match a `*` or `?` of the pattern."""
        pairs = zip(self.pattern.split("/")[:-1], path.split("/")[:-1], strict=True)
        return [name for segment, name in pairs if set("*?") & set(_TOKEN.sub("", segment))]

    def find(self, paths: Iterable[str]) -> dict[int, dict[int | None, list[str]]]:
        """Groups `paths` (relative, as `segments` matched them) by span and version.

        Raises:
          ComponentError: A date is impossible or has other digits than the pattern, or one span is
            written in two ways.
        """
        expression = re.compile(self._expression())
        found: dict[int, dict[int | None, list[str]]] = {}
        written: dict[tuple[int, int | None], tuple[dict[str, str], str]] = {}
        for path in sorted(paths):
            match = expression.fullmatch(path)
            if match is None:
                raise ComponentError(
                    f"'{path}' does not fit {self.pattern}. YYYY has four digits, MM, DD and HH "
                    "have two, and a repeated token has one value; rename or remove the file"
                )
            span, version = self._number(match.groupdict(), path)
            tokens = match.groupdict()
            first, other = written.setdefault((span, version), (tokens, path))
            if first != tokens:
                raise ComponentError(f"{other} and {path} are the same span; remove one of them")
            found.setdefault(span, {}).setdefault(version, []).append(path)
        return found

    def _expression(self) -> str:
        """Returns the pattern as a regular expression with one named group per token."""
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
                f"'{path}' has no valid date ({error}); rename or remove it"
            ) from error
        days = (day - dt.date(1970, 1, 1)).days
        return (days * 24 + hour if self.hourly else days), version

    def describe(self, span: int) -> str:
        """Returns a span in readable form."""
        if not self.tokens & set(_DIGITS):
            return f"span {span}"
        return describe_period(span, self.hourly)


def describe_period(span: int, hourly: bool) -> str:
    """Returns an hour or a day in readable form, with its number."""
    begin = dt.datetime(1970, 1, 1) + dt.timedelta(hours=span if hourly else span * 24)
    return f"span {span} ({begin:%Y-%m-%dT%H})" if hourly else f"span {span} ({begin:%F})"


def resolve(
    pattern: SpanPattern,
    paths: Iterable[str],
    wanted: SpanRange,
    *,
    source: str,
    base: str,
    around: Around = Around(),
    index: SpanIndex | None = None,
) -> SpanFiles:
    """Returns the files of the wanted spans.

    Args:
      pattern: Path pattern of the source.
      paths: Paths of the existing files, relative to `base`.
      wanted: Requested spans.
      source: Name of the source, for errors.
      base: Folder or URI, for errors.
      around: Spans to read beside the window, and those that may be missing.
      index: What the source's writer says about its spans, if it keeps an index.

    Raises:
      ComponentError: No file matches, the last span is missing, or another one is that must not be.
    """
    found = pattern.find(paths)
    if not found and (index is None or wanted.last is None):
        raise ComponentError(
            f"source '{source}': no file matches {pattern.pattern} under {base}; "
            "check the path in the config, or create the data first"
        )
    if not pattern.has_spans:
        return SpanFiles({0: tuple(found[0][None])}, None)
    window = SpanRange(wanted.length, _last_span(found, wanted, source, pattern.describe))
    if index is None:
        spans = present_spans(found, window, source, pattern.describe, around)
    else:
        spans = _indexed(index, found, window, source, pattern, around)
    chosen = {span: max(found[span], key=lambda v: -1 if v is None else v) for span in spans}
    files = {span: tuple(found[span][version]) for span, version in chosen.items()}
    return SpanFiles(files, chosen.get(window.last or 0))


def _last_span(
    found: Collection[int], wanted: SpanRange, source: str, describe: Callable[[int], str]
) -> int:
    """Returns the requested last span, or the newest one that may be it."""
    if wanted.last is not None:
        return wanted.last
    at_most = max(found) if wanted.at_most is None else wanted.at_most
    if min(found) > at_most:
        raise ComponentError(
            f"source '{source}': its oldest {describe(min(found))} is not complete yet in all "
            "sources; wait, or allow outcomes to be missing: outcome.may_be_open"
        )
    return max(span for span in found if span <= at_most)


def _indexed(
    index: SpanIndex,
    found: Collection[int],
    window: SpanRange,
    source: str,
    pattern: SpanPattern,
    around: Around,
) -> list[int]:
    last, period = window.last, pattern.period_ms
    assert last is not None and period is not None  # FileSource has checked the pattern
    wanted = range(last - window.length + 1 - around.before, last + 1 + around.after)
    needed = (last + 1) * period + around.waits_ms
    return indexed_spans(index, found, wanted, needed, period, source, pattern.describe)


def present_spans(
    found: Collection[int],
    wanted: SpanRange,
    source: str,
    describe: Callable[[int], str],
    around: Around = Around(),
    complete_to: Callable[[], int | None] = lambda: None,
) -> list[int]:
    """Returns the wanted spans that exist, oldest first.

    Args:
      found: Existing spans.
      wanted: Requested spans; `last` is a number.
      source: Name of the source, for errors.
      describe: Function that returns a span in readable form.
      around: Spans to read beside the window, and those that may be missing.
      complete_to: Function that returns the last complete span, if the source can tell from rows of
        a later time. It is called only when needed.

    Raises:
      ComponentError: A span is missing and must not be. The last span never may be missing. Nor may
        one that can still arrive, unless it belongs to the open part of the outcomes' time.
    """
    last = wanted.last
    assert last is not None
    first = last - wanted.length + 1
    window, oldest = range(first, last + 1), min(found, default=first)
    before = range(max(first - around.before, min(oldest, first)), first)  # the log begins then
    holes = [span for span in (*before, *window) if span not in found]
    if last in holes or (holes and around.missing == "error"):
        raise ComponentError(_missing_message(source, describe, holes, found))
    after = range(last + 1, last + 1 + around.after)
    newest = max(found, default=None)
    some_open = range(after.stop - around.open, after.stop)
    late = [
        span
        for span in after
        if span not in found and not (span in some_open and (newest is None or span > newest))
    ]
    if late and around.missing == "error":
        raise ComponentError(_missing_message(source, describe, late, found))
    open_ones = [span for span in (*holes, *late) if newest is None or span > newest]
    if open_ones:
        complete = complete_to()
        open_ones = [span for span in open_ones if complete is None or span > complete]
    if open_ones:
        raise ComponentError(_not_arrived_message(source, describe, open_ones, newest))
    return [span for span in (*before, *window, *after) if span in found]


def newest_complete_span(newest_us: int | None, period_us: int, source: str) -> int:
    """Returns the last complete span: a row of a later time exists.

    Args:
      newest_us: Time of the newest row, in microseconds since 1970 UTC; None without rows.
      period_us: Length of a span, in microseconds.
      source: Name of the source, for errors.

    Raises:
      ComponentError: There is no row.
    """
    if newest_us is None:
        raise ComponentError(f"source '{source}' is empty: it has no row with a time")
    return newest_us // period_us - 1


def _missing_message(
    source: str, describe: Callable[[int], str], holes: list[int], found: Collection[int]
) -> str:
    named = ", ".join(describe(span) for span in holes[:3])
    more = f" and {len(holes) - 3} more" if len(holes) > 3 else ""
    there = (
        f"there is {describe(min(found))} to {describe(max(found))}" if found else "none is there"
    )
    return (
        f"source '{source}': missing {named}{more}; {there}. Choose another --span or window, or "
        "set missing_spans: allow for this source"
    )


def _not_arrived_message(
    source: str, describe: Callable[[int], str], spans: list[int], newest: int | None
) -> str:
    more = f" and {len(spans) - 1} more" if len(spans) > 1 else ""
    there = "there is none" if newest is None else f"the newest is {describe(newest)}"
    return (
        f"source '{source}': {describe(spans[0])}{more} may not have arrived yet: {there}. "
        "missing_spans: allow accepts only spans before a newer one; wait, choose an "
        "earlier --span, or write an empty file for a span that stays empty"
    )


def is_hidden(name: str) -> bool:
    """Returns whether Spark skips a file or folder, by its name."""
    return name.startswith(("_", "."))


def _full_match(expression: str) -> Callable[[str], bool]:
    compiled = re.compile(expression)
    return lambda name: compiled.fullmatch(name) is not None


def _glob_to_regex(text: str) -> str:
    """Returns a regular expression in which `*` and `?` match within one path segment."""
    return re.escape(text).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
