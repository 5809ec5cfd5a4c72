"""What a longer window costs an hour's run: python -m benchmarks.span_windows --help

Transform is the one component that looks at the whole window. Here it analyzes windows of 6, 24 and
72 spans, without a cache (every span), and then the window one span later with the cache of the
first (one span, and what the cache has of the others): ours, and for short windows TFX's own, which
takes all of 23 GiB for 72 spans. All spans hold the same examples, each in a folder of its own,
which is what the analyzer cache knows them by.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.measure import ROOT, run_candidate, write_result
from benchmarks.sample import sample_data

console = Console(stderr=True)
OURS, TFX = "ours", "tfx"
WITHOUT, WITH = "without_cache", "with_cache"


@click.command()
@click.option("--quick", is_flag=True, help="2,000 impressions a span.")
@click.option("--impressions", default=10_000, show_default=True, help="Of a span.")
@click.option("--windows", default=(6, 24, 72), multiple=True, show_default=True)
@click.option("--tfx-up-to", default=24, show_default=True, help="Longest window for TFX's own.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool, impressions: int, windows: tuple[int, ...], tfx_up_to: int, out: Path | None
) -> None:
    """Times Transform on windows of several lengths, with the cache and without."""
    size = 2_000 if quick else impressions
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sample_data("ctr", folder / "data", impressions=size, hours=1)
        made = prepared_data.prepare(folder, "ctr", ["spans.window=1"])
        (folder / "schema").mkdir()
        shutil.copy(ROOT / "schemas/ctr.pbtxt", folder / "schema/schema.pbtxt")
        spans = folder / "spans"
        for number in range(max(windows) + 1):
            shutil.copytree(made.raw("train").parent, spans / str(number))
        runs: dict[str, dict[str, dict[str, float]]] = {OURS: {}, TFX: {}}
        for window in windows:
            for kind in (OURS, TFX) if window <= tfx_up_to else (OURS,):
                place = str(folder / f"{kind}-{window}")
                arguments = {"spans": str(spans), "out": place, "window": window, "kind": kind}
                run = run_candidate("benchmarks.span_windows", arguments)
                runs[kind][str(window)] = {**run.answer, "peak_mib": round(run.peak_mib)}
                console.print(kind, window, runs[kind][str(window)])
    result = write_result("span_windows", [], {"impressions": size, **runs}, _ratios(runs), out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def _ratios(runs: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    ours, tfx = runs[OURS], runs[TFX]
    first, last = (f([*ours], key=int) for f in (min, max))
    found = {f"with_cache_{last}_vs_{first}": ours[last][WITH] / ours[first][WITH]}
    if tfx:
        longest = max(tfx, key=int)
        for how in (WITHOUT, WITH):
            found[f"tfx_vs_ours_{how}_{longest}"] = tfx[longest][how] / ours[longest][how]
    return found


def transform(spans: Path, out: Path, window: int, kind: str) -> dict[str, float]:
    """In a process of its own: seconds on spans 0 to window - 1, and then on 1 to window."""
    seconds = {}
    cache: Path | None = None
    for how, first in ((WITHOUT, 0), (WITH, 1)):
        folders = [spans / str(number) for number in range(first, first + window)]
        began = time.monotonic()
        cache = _run(kind, folders, out / how, cache)
        seconds[how] = round(time.monotonic() - began, 1)
    return seconds


def _run(kind: str, spans: list[Path], out: Path, cache: Path | None) -> Path:
    """Transform's executor as the pipeline of an hour calls it; returns the new cache."""
    from tfx.components.transform.executor import Executor
    from tfx.types import artifact_utils, standard_artifacts

    from components.transform.executor import TransformExecutor

    def artifact(kind: Any, uri: Path) -> Any:
        found = kind()
        found.uri = str(uri)
        return found

    examples = [artifact(standard_artifacts.Examples, span) for span in spans]
    for number, one in enumerate(examples):
        one.split_names = artifact_utils.encode_split_names(["train", "eval"])
        one.id = number + 1
    inputs = {
        "examples": examples,
        "schema": [artifact(standard_artifacts.Schema, spans[0].parents[1] / "schema")],
    }
    if cache is not None:
        inputs["analyzer_cache"] = [artifact(standard_artifacts.TransformCache, cache)]
    outputs = {
        "transform_graph": [artifact(standard_artifacts.TransformGraph, out / "graph")],
        "updated_analyzer_cache": [artifact(standard_artifacts.TransformCache, out / "cache")],
    }
    properties = {
        "preprocessing_fn": "tabular.preprocessing.preprocessing_fn",
        "custom_config": "{}",
        "force_tf_compat_v1": 0,
        "disable_statistics": 1,
    }
    executor = TransformExecutor if kind == OURS else Executor
    context = executor.Context(
        beam_pipeline_args=["--direct_running_mode=in_memory"],
        tmp_dir=str(out / "tmp"),
        unique_id="1",
    )
    executor(context).Do(inputs, outputs, properties)
    return out / "cache"


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        wanted = json.loads(sys.argv[1])
        answer = transform(
            Path(wanted["spans"]), Path(wanted["out"]), wanted["window"], wanted["kind"]
        )
        print(json.dumps(answer), flush=True)
    else:
        main()
