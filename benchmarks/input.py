"""Whether training waits for its input: python -m benchmarks.input --help

Examples a second of the input alone (TFRecords to shuffled, parsed batches) and of the training of
the default network that reads them, in the same process, one after the other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from benchmarks import prepared_data
from benchmarks.measure import alternate, median, run_candidate, write_result
from benchmarks.prepared_data import Prepared


@click.command()
@click.option("--quick", is_flag=True, help="60,000 impressions, one run.")
@click.option("--impressions", default=200_000, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--scratch", type=click.Path(path_type=Path), help="For data; default: temporary.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the result.")
def main(
    quick: bool, impressions: int, repeats: int, scratch: Path | None, out: Path | None
) -> None:
    """The input against the training, by the default parameters."""
    size, repeats = (60_000, 1) if quick else (impressions, repeats)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (scratch or Path(temporary)) / f"clicks-{size}"
        prepared_data.clicks(folder, size)
        runs = alternate(
            {"both": lambda: run_candidate("benchmarks.input", {"folder": str(folder)})},
            repeats,
            Console(stderr=True).print,
        )["both"]
    speed = {name: round(median(runs, name)) for name in ("input", "training")}
    figures = {"impressions": size, "examples_per_s": speed}
    ratios = {"input_vs_training": speed["input"] / speed["training"]}
    result = write_result("input", [run.answer for run in runs], figures, ratios, out)
    Console().print_json(json.dumps({key: result[key] for key in ("figures", "ratios")}))


def measure(prepared: Prepared) -> dict[str, float]:
    """In a process of its own."""
    from benchmarks.training_speed import ANSWER, run_fn

    with tempfile.TemporaryDirectory() as out:
        fn_args = prepared.fn_args(out, {"parameters": {}})
        run_fn(fn_args)
        answer: dict[str, float] = json.loads(
            (Path(fn_args.model_run_dir) / ANSWER).read_text("utf-8")
        )
        return answer


if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        answer = measure(Prepared(Path(json.loads(sys.argv[1])["folder"])))
        print(json.dumps(answer), flush=True)
    else:
        main()
