"""Prints what `python -m streaming status` shows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streaming.accounts import PLACES
from streaming.layout import Layout, hour_start
from streaming.operation.overview import counts, outcome_lines, run_text


def print_overview(console: Console, found: dict[str, Any], folder: Path, hours: int) -> None:
    """Prints an overview.

    Args:
      console: Console to print to.
      found: Result of `overview` with that of `verify`, and `losses`.
      folder: The config's `streaming.folder`.
      hours: Number of newest hours to show.
    """
    if not found["batches"]:
        console.print(f"{folder} has no events yet; read some: python -m streaming ingest")
    if found["hours"]:
        names = counts(found["hours"][-1])
        table = Table("hour", "state", *names, "run")
        for column in table.columns[2:-1]:
            column.justify = "right"
        for row in found["hours"][-hours:]:
            shown = ["" if n is None else f"{n:,}" for n in counts(row).values()]
            table.add_row(row["name"], row["state"], *shown, run_text(row))
        console.print(table)
    if found["batches"]:
        still_open = sum(row["state"] == "open" for row in found["hours"])
        done = f"{found['batches']:,} batches, {still_open} hours open"
        watermark = found["watermark_ms"]
        upto = "no hour is complete" if watermark is None else f"complete up to {minute(watermark)}"
        console.print(f"{upto}; {done}")
    if found["files_waiting"]:
        console.print(f"{found['files_waiting']:,} files are waiting to be read")
    _print_counts(console, found, folder)
    never = [row["hour"] for row in found["hours"] if row["overtaken"]]
    if never:
        console.print(
            f"{len(never):,} hours were closed after the runs of later ones, and no run has read "
            f"them; to read the first: python -m streaming retry --hour {_flag(never[0])}",
            soft_wrap=True,
        )
    if found["needs_person"]:
        console.print("several runs in a row have failed; to try again: python -m streaming retry")
    if found["problems"]:
        console.print("problems:")
        for problem in found["problems"]:
            console.print(problem, soft_wrap=True)


def _flag(hour: int) -> str:
    return f"{hour_start(hour):%Y-%m-%dT%H}"


def _print_counts(console: Console, found: dict[str, Any], folder: Path) -> None:
    if found["refused"]:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in found["refused"].items())
        console.print(f"refused: {reasons}; {Layout(folder).batches}/*/outcome=refused")
    for stream, of in found["places"].items():
        parts = " + ".join(f"{of[place]:,} {place}" for place in PLACES)
        console.print(f"{stream}: {of['read']:,} read = {parts}", soft_wrap=True)
    for line in outcome_lines(found):
        console.print(line, soft_wrap=True)
    _print_losses(console, found["losses"])


def _print_losses(console: Console, losses: list[dict[str, Any]]) -> None:
    for loss in losses:
        records = "an unknown number of" if loss["records"] is None else f"{loss['records']:,}"
        console.print(
            f"{loss['stream']}: {records} records of topic {loss['topic']} were lost "
            f"({loss['kind']}), accepted {loss['accepted']}"
        )


def minute(epoch_ms: int) -> str:
    """Returns a time for people, in UTC."""
    when = dt.datetime.fromtimestamp(epoch_ms / 1000, dt.timezone.utc)
    return f"{when:%Y-%m-%d %H:%M}"
