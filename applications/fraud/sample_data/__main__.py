"""`python -m applications.fraud.sample_data`: simulates a log of card payments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from applications.fraud.sample_data.dirt import Dirt
from applications.fraud.sample_data.payment_log import (
    ConfigError,
    PaymentLogConfig,
    generate_payment_log,
)
from applications.sample_files.output_folder import OutputError
from base.console import PlainConsole

_console = PlainConsole(stderr=True, soft_wrap=True)


def _fail(error: Exception, code: int) -> None:
    _console.print(f"sample_data: {error}", style="red", markup=False)
    sys.exit(code)


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--payments", type=int, default=400_000, show_default=True)
@click.option("--days", type=int, default=75, show_default=True)
@click.option(
    "--chargeback-hours",
    type=float,
    default=45 * 24.0,
    show_default=True,
    help="Longest time from a payment to its chargeback.",
)
@click.option("--start", default="2024-03-01", show_default=True, help="First day, UTC.")
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--review-share",
    type=float,
    default=0.01,
    show_default=True,
    help="Share of payments that analysts look at.",
)
@click.option(
    "--dirt", type=click.Choice(["none", "default", "heavy"]), default="default", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds other files too.")
def main(out: Path, dirt: str, overwrite: bool, **options: Any) -> None:
    """Simulates a log of card payments whose true fraud probabilities are known.

    \b
    A day in which chargebacks come within two hours:
      python -m applications.fraud.sample_data --out data/day --payments 20000 --days 1 \\
          --chargeback-hours 2
    """
    try:
        config = PaymentLogConfig(dirt=Dirt.preset(dirt), **options)
    except (ConfigError, ValueError) as error:
        _fail(error, 2)
    try:
        with Progress(console=_console, disable=not _console.is_terminal, transient=True) as bar:
            task = bar.add_task("days", total=config.days)
            summary = generate_payment_log(
                config, out, lambda done, _: bar.update(task, completed=done), overwrite=overwrite
            )
    except OutputError as error:
        _fail(error, 1)
    if not summary.written:
        _console.print(f"{out} already holds this log; nothing to do")
        return
    counts, best = summary.counts, summary.best_reachable
    reachable = "none" if best["auc_pr"] is None else f"{best['auc_pr']:.3f}"
    _console.print(
        f"{out}: {counts['payments']:,} payments with {counts['cards']:,} cards, "
        f"{counts['disputed']:,} disputed ({counts['disputed'] / counts['payments']:.2%}); best "
        f"reachable AUC-PR {reachable}",
        markup=False,
    )


if __name__ == "__main__":
    main(prog_name="python -m applications.fraud.sample_data")
