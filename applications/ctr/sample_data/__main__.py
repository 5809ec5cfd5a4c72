"""`python -m applications.ctr.sample_data`: simulates a click log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from applications.ctr.sample_data.click_log import (
    ClickLogConfig,
    ConfigError,
    generate_click_log,
)
from applications.ctr.sample_data.dirt import Dirt
from applications.sample_files.output_folder import OutputError
from base.console import PlainConsole

_console = PlainConsole(stderr=True, soft_wrap=True)
_OUT = click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
_OVERWRITE = click.option(
    "--overwrite", is_flag=True, help="Write into a folder that holds other files too."
)


def _fail(error: Exception, code: int) -> None:
    _console.print(f"sample_data: {error}", style="red")
    sys.exit(code)


def _dirt_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds an option for each kind of dirt."""
    for kind in reversed(fields(Dirt)):
        text = f"Rate of {kind.metadata['help']}. [{kind.default:g} by default]"
        name = "--" + kind.name.replace("_", "-")
        command = click.option(name, type=float, metavar="RATE", help=text)(command)
    return command


@click.command()
@_OUT
@click.option("--impressions", type=int, default=200_000, show_default=True)
@click.option("--hours", type=int, default=48, show_default=True)
@click.option("--start", default="2024-03-01T00", show_default=True, help="First hour, UTC.")
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")
@click.option("--users", type=int, help="[default: one per 50 impressions]")
@click.option("--items", type=int, help="[default: twice the root of impressions]")
@click.option("--categories", type=int, help="[default: 40, with at least 20 items each]")
@click.option(
    "--dirt",
    type=click.Choice(["none", "default", "heavy"]),
    default="default",
    show_default=True,
    help="All rates of dirt; the options below change single ones.",
)
@_dirt_options
@_OVERWRITE
def main(out: Path, dirt: str, overwrite: bool, **options: Any) -> None:
    """Simulates a click log whose true click probabilities are known.

    \b
    A million impressions over a week, with bots as the only dirt:
      python -m applications.ctr.sample_data --out data/week --impressions 1000000 \\
          --hours 168 --dirt none --bots 0.01
    """
    try:
        preset = Dirt.preset(dirt)
        rates = {k.name: options.pop(k.name) for k in fields(Dirt)}
        rates = {k: getattr(preset, k) if rate is None else rate for k, rate in rates.items()}
        config = ClickLogConfig(dirt=Dirt(**rates), **options)
    except (ConfigError, ValueError) as error:
        _fail(error, 2)
    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=_console,
            disable=not _console.is_terminal,
            transient=True,
        ) as bar:
            task = bar.add_task("impressions", total=config.impressions)
            summary = generate_click_log(
                config, out, lambda done, _: bar.update(task, completed=done), overwrite=overwrite
            )
    except OutputError as error:
        _fail(error, 1)
    if not summary.written:
        _console.print(f"{out} already holds this click log; nothing to do")
        return
    counts, best = summary.counts, summary.best_reachable
    auc = "none" if best["auc"] is None else f"{best['auc']:.4f}"
    _console.print(
        f"{out}: {counts['impressions']:,} impressions by {counts['users']:,} users of "
        f"{counts['items']:,} items, {counts['clicks']:,} clicks (CTR {best['ctr']:.1%}); "
        f"best reachable AUC {auc}, log loss {best['log_loss']:.4f}",
        markup=False,
    )


if __name__ == "__main__":
    main(prog_name="python -m applications.ctr.sample_data")
