"""How long a person waits for lineage: python -m benchmarks.lineage --help

Whole commands, Python's start among them, on a store of 10,000 executions; the report of a run of
the click-through-rate pipeline; and the dashboard in Debian's Chromium, until it first paints.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.lineage_store import COMPONENTS, write_store
from benchmarks.measure import ROOT, write_result

QUESTIONS = {
    "list": ["list"],
    "show": ["show", "latest"],
    "trace": ["trace", "latest"],
    "trace_oldest": ["trace", "1000"],
    "impact": ["impact", "latest"],
    "diff": ["diff"],
    "served": ["served"],
    "gc": ["gc"],
}
_FEW = 10  # runs, of the small store that the large one is compared with
_COMMAND = (sys.executable, "-m", "lineage")


@click.command()
@click.option("--quick", is_flag=True, help="1,000 executions, 24,000 impressions, one repeat.")
@click.option("--executions", default=10_000, show_default=True)
@click.option("--impressions", default=220_000, show_default=True, help="Of the run to report on.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(quick: bool, executions: int, impressions: int, repeats: int, out: Path | None) -> None:
    """Seconds of each command, of a report, and until the dashboard paints."""
    if quick:
        executions, impressions, repeats = 1_000, 24_000, 1
    say = Console(stderr=True).print
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        say(f"writing {executions:,} executions")
        store, few = (folder / name / "metadata.sqlite" for name in ("many", "few"))
        for path, number in ((store, executions // COMPONENTS), (few, _FEW)):
            path.parent.mkdir()
            write_store(path, number)
        runs: dict[str, list[float]] = {name: [] for name in QUESTIONS}
        small: dict[str, list[float]] = {name: [] for name in QUESTIONS}
        for _ in range(repeats):
            for name, question in QUESTIONS.items():
                runs[name].append(_seconds(store, question))
                small[name].append(_seconds(few, question))
        say("painting the dashboard")
        paints = first_paints(store, repeats)
        say(f"running the pipeline on {impressions:,} impressions")
        own = _run_pipeline(folder, impressions)
        page = folder / "report.html"
        reports = [_seconds(own, ["report", "--out", str(page)]) for _ in range(repeats)]
        mib = page.stat().st_size / (1 << 20)
    figures: dict[str, Any] = {
        "executions": executions,
        "runs": executions // COMPONENTS,
        "impressions": impressions,
        "command_s": {name: round(statistics.median(of), 2) for name, of in runs.items()},
        "report_s": round(statistics.median(reports), 2),
        "report_mib": round(mib, 1),
        "first_paint_s": round(statistics.median(paints) / 1000, 2),
    }
    ratios = {
        f"{name}_vs_{_FEW}_runs": statistics.median(of) / statistics.median(small[name])
        for name, of in runs.items()
    }
    measured = {**runs, "few": small, "report": reports, "first_paint_ms": paints}
    result = write_result("lineage", measured, figures, ratios, out)
    Console().print_json(json.dumps(result["figures"]))


def _seconds(store: Path, question: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(
        [*_COMMAND, "--store", str(store), *question], cwd=ROOT, check=True, capture_output=True
    )
    return time.monotonic() - started


def first_paints(store: Path, repeats: int) -> list[float]:
    """Milliseconds from the request on, each of a browser that was never there."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium-headless-shell")
    if program is None:
        raise click.ClickException("no chromium-headless-shell; apt-get install it")
    found = []
    with _dashboard(store) as address, sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector(".plot[data-drawn]")
            entries = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]")
            found.append(float(entries["startTime"]))
            browser.close()
    return found


@contextlib.contextmanager
def _dashboard(store: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [*_COMMAND, "--store", str(store), "serve", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[0]
    finally:
        process.terminate()
        process.communicate()


def _run_pipeline(folder: Path, impressions: int) -> Path:
    """The store of one run."""
    options = f"{{impressions: {impressions}, hours: 48, seed: 7}}"
    places = {"run_root": "runs", "data_root": "data", "serving_root": "serving"}
    settings = [f"--set={key}={folder / name}" for key, name in places.items()]
    settings.append(f"--set=sample_data={options}")
    command = [sys.executable, "local_runner.py", "--config", "applications/ctr/configs/ctr.yaml"]
    subprocess.run([*command, *settings], cwd=ROOT, check=True, capture_output=True)
    [store] = (folder / "runs").glob("*/metadata.sqlite")
    return store


if __name__ == "__main__":
    main()
