"""Puts the results of benchmarks/results/ into the documents: python -m benchmarks.tables

This writes what stands between `<!-- table NAME -->` and `<!-- end -->`; the words are its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from benchmarks.small_tables_table import small_tables

DOCUMENTS = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in ("benchmarks", "training", "serving", "streaming", "scale", "lineage")
)
RESULTS = ROOT / "benchmarks" / "results"
_BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_COMMANDS = {"example_gen_wide": "example_gen --wide"}  # of results that share a command

Result = dict[str, Any]


def example_gen(result: Result) -> str:
    """Candidates, fastest of ours first, with rows/s and what they are compared with."""
    figures, runs, ratios = result["figures"], result["runs"], result["ratios"]
    compared = {
        "csv_example_gen": f"ours on the same CSV: {ratios['vs_csv_example_gen']:.1f} times",
        "parquet_executor": f"ours: {ratios['vs_parquet_executor']:.1f} times",
        "floor": f"ours, steady: {ratios['vs_floor']:.2f} times",
        "floor_tfx_bsl": f"our encoder: {ratios['encoder_vs_tfx_bsl']:.1f} times",
    }
    lines = ["| candidate | rows/s | seconds | |\n|---|---|---|---|"]
    for name, label in _EXAMPLE_GEN.items():
        for suffix, size, key in (
            ("", figures["rows"], f"rows_per_s_{name}"),
            (f"_{figures['rows_large']}", figures["rows_large"], f"rows_per_s_10m_{name}"),
        ):
            if key in figures:
                seconds = ", ".join(f"{s:.1f}" for s in runs[f"{name}{suffix}"])
                note = compared.get(name, "") if not suffix else ""
                what = f"{label}, {size // 1_000_000}M rows"
                lines.append(f"| {what} | {figures[key]:,} | {seconds} | {note} |")
    memory = (
        f"Memory of a Python worker of ours: {figures['worker_mib']} MiB with 1M rows, "
        f"{figures['worker_mib_10m']} MiB with 10M; of all processes together "
        f"{figures['peak_mib']:,} and {figures['peak_mib_10m']:,} MiB."
    )
    return "\n".join([*lines, "", memory])


def example_gen_wide(result: Result) -> str:
    """Shape -> seconds of plain Spark and of ours."""
    lines = ["| shape | rows | plain Spark | ours, published | |\n|---|---|---|---|---|"]
    for name, found in result["figures"].items():
        spark, ours = found["spark_s"], found["ours_s"]
        seconds = f"{spark:.1f} s | {ours:.1f} s | {ours / spark:.1f} times"
        lines.append(f"| {_WIDE[name]} | {found['rows']:,} | {seconds} |")
    return "\n".join(lines)


_WIDE = {
    "many_columns": "2,000 columns of Parquet",
    "many_csv_columns": "2,000 declared columns of CSV",
    "declared_columns": "400 columns, declared wider than they are",
    "many_json_files": "a JSON file for each row",
    "many_parquet_files": "a Parquet file for each row",
    "large_values": "a binary of 120 kB in each row, Parquet",
}
_EXAMPLE_GEN = {
    "csv_example_gen": "TFX's CsvExampleGen",
    "parquet_executor": "TFX's Parquet executor",
    "spark_example_gen_csv": "SparkExampleGen on CSV",
    "spark_example_gen": "SparkExampleGen on Parquet",
    "steady": "SparkExampleGen on Parquet, Spark running",
    "transport": "rows from Parquet to Spark's Python, no more",
    "floor": "no Spark: encode, checksum, compress",
    "floor_tfx_bsl": "no Spark, with tfx_bsl's encoder",
}


def ctr_etl(result: Result) -> str:
    """Sizes with seconds a million rows."""
    figures = result["figures"]
    lines = ["| impressions | seconds | seconds a million | worker | all processes |"]
    lines.append("|---|---|---|---|---|")
    for size, seconds in result["runs"].items():
        per_million = figures["s_per_million_rows"][size]
        times = ", ".join(f"{s:.0f}" for s in seconds)
        worker, peak = figures["worker_mib"][size], figures["peak_mib"][size]
        lines.append(
            f"| {int(size):,} | {times} | {per_million:.1f} | {worker:,} MiB | {peak:,} MiB |"
        )
    return "\n".join(lines)


def quality(result: Result) -> str:
    """Model x data -> AUC, log loss, calibration, seconds."""
    figures, ratios = result["figures"], result["ratios"]
    lines = [
        "| data | network | AUC | log loss | calibration | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for data, label in (
        ("clicks", f"simulator, {figures['impressions']:,}"),
        ("movielens", "MovieLens 100k"),
    ):
        found = figures[data]
        for name, scores in found["networks"].items():
            mark = " *" if name == found["best"] else ""
            lines.append(f"| {label} | {name}{mark} | {_scores(scores)} |")
        if data == "clicks":
            best = next(iter(found["networks"].values()))
            lines.append(
                f"| {label} | best reachable | {best['best_reachable_auc']:.4f} | "
                f"{best['best_reachable_log_loss']:.4f} | | |"
            )
        for name, scores in found.get("deepctr", {}).items():
            mark = " *" if name == found["deepctr_best"] else ""
            lines.append(f"| {label} | DeepCTR {name}{mark} | {_scores(scores)} |")
    summary = (
        "\\* the best on split eval. On the simulator's log the default, "
        f"{figures['clicks']['default']}, has "
        f"{ratios['auc_of_best_reachable']:.4f} of the best reachable AUC and "
        f"{ratios['log_loss_vs_best']:.4f} times the best reachable log loss; on MovieLens the "
        "best has "
        f"{ratios['movielens_auc_vs_deepctr']:.4f} times the AUC of DeepCTR's best and "
        f"{ratios['movielens_log_loss_vs_deepctr']:.4f} times its log loss."
    )
    return "\n".join([*lines, "", summary])


def _scores(scores: dict[str, float]) -> str:
    return (
        f"{scores['auc']:.4f} | {scores['log_loss']:.4f} | {scores['calibration']:.3f} | "
        f"{scores['seconds']:.0f}"
    )


def training(result: Result) -> str:
    """Examples a second by who trains."""
    speed, runs = result["figures"]["examples_per_s"], result["runs"]
    labels = {
        "1 worker": "ours, from TFRecords",
        "2 workers": "ours, two workers on Spark, one core each",
        "deepctr": "DeepCTR's `model.fit`, from arrays",
    }
    lines = ["| | examples/s | every run |", "|---|---|---|"]
    for name, label in labels.items():
        key = "rows_per_second" if name == "deepctr" else "training"
        every = ", ".join(f"{run[key]:,.0f}" for run in runs[name])
        lines.append(f"| {label} | {speed[name]:,} | {every} |")
    ratios = result["ratios"]
    compared = (
        f"Ours with one worker: {ratios['vs_deepctr_fit']:.2f} times DeepCTR's; two workers on "
        f"this machine: {ratios['two_workers_vs_one']:.2f} times one."
    )
    return "\n".join([*lines, "", compared])


def input_alone(result: Result) -> str:
    """The input against the training."""
    speed = result["figures"]["examples_per_s"]
    return (
        f"Input alone: {speed['input']:,} examples/s; training with it: {speed['training']:,}: "
        f"{result['ratios']['input_vs_training']:.1f} times."
    )


def warm_start(result: Result) -> str:
    """Passes over the data and losses, cold and warm."""
    figures = result["figures"]
    goals = figures["passes_to_within"]
    heads = " | ".join(f"passes to within {goal} of the cold best" for goal in goals)
    lines = [f"| start | log loss after 1/16 pass | best | {heads} |", "|---|---|---|---|---|---|"]
    for name, best in figures["best_loss"].items():
        passes = [found[name] for found in goals.values()]
        reached = " | ".join("never" if n is None else f"{n:.2f}" for n in passes)
        lines.append(f"| {name} | {figures['first_loss'][name]:.4f} | {best:.4f} | {reached} |")
    return "\n".join(lines)


def serving(result: Result) -> str:
    """Latencies by rate, the reload, and memory."""
    figures, runs = result["figures"], result["runs"]
    lines = [
        "| load | runs within 45 ms | p50 | p99 | p99.9 | errors |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        if name in ("reload", "memory"):
            continue
        held = sum(run["p99_ms"] <= 45 and not run["errors"] for run in found)
        columns = [
            ", ".join(f"{run[key]:.1f}" for run in found)
            for key in ("p50_ms", "p99_ms", "p99.9_ms")
        ]
        errors = sum(run["errors"] for run in found)
        lines.append(f"| {name} | {held} of {len(found)} | {' | '.join(columns)} | {errors} |")
    reload, memory = figures["reload"], figures["memory"]
    text = (
        f"{figures['candidates']} candidates a request, milliseconds, a run 60 s. The highest rate "
        f"that holds: {figures['highest_rate_within_45_ms']:g}/s. A new version under 100/s: "
        f"{reload['errors']} requests failed, p99 of that minute "
        f"{reload['p99_ms_with_reload']:.1f} ms against {reload['p99_ms_before']:.1f} ms before "
        f"({reload['ratio']:.2f} times). "
        f"Ten minutes at 100/s: {memory['mib_at_the_start']:.0f} MiB at the start, "
        f"{memory['mib_at_the_end']:.0f} MiB at the end."
    )
    return "\n".join([*lines, "", text])


def serving_parts(result: Result) -> str:
    """Medians by step, in the order of a request."""
    figures = result["figures"]
    lines = [f"| of a request of {figures['candidates']} candidates | median ms |", "|---|---|"]
    return "\n".join([*lines, *(f"| {n} | {ms:.2f} |" for n, ms in figures["median_ms"].items())])


def streaming(result: Result) -> str:
    """Rate, lag and memory by third of the time."""
    figures = result["figures"]
    lines = ["| | first third | second | last |", "|---|---|---|---|"]
    lags = " | ".join(f"{lag:,.0f}" for lag in figures["lag_median_by_third"])
    memory = " | ".join(f"{mib:,} MiB" for mib in figures["mib_by_third"])
    lines += [f"| lag, median, events | {lags} |", f"| memory, most | {memory} |"]
    text = (
        f"{figures['sent_per_second']:,} events/s were sent for {figures['seconds']} s and "
        f"{figures['read_per_second']:,} read, {figures['hours_closed']} hours closed meanwhile; "
        f"at most {figures['lag_most']:,} events behind, all read "
        f"{figures['seconds_to_catch_up']:.0f} s after the last one was sent. Hours were closed in "
        f"{min(figures['closing_s']):.0f} to {max(figures['closing_s']):.0f} s; the online table "
        f"was at most {figures['table_age_most_s']:.0f} s old."
    )
    return "\n".join([*lines, "", text])


def freshness(result: Result) -> str:
    """Seconds of an hour's components, and their share."""
    figures = result["figures"]
    lines = ["| | seconds | share |", "|---|---|---|"]
    steps = {"closing the hour": figures["closing_s"]}
    steps |= {n: s for n, s in figures["components_s"].items() if s >= 0.5}
    in_all = figures["close_to_model_s"]
    lines += [f"| {name} | {s:.1f} | {s / in_all:.0%} |" for name, s in steps.items()]
    rest = in_all - sum(steps.values())
    lines.append(f"| everything else | {rest:.1f} | {rest / in_all:.0%} |")
    lines.append(f"| in all | {in_all:.1f} | |")
    settings = ", ".join(f"`{one}`" for one in figures["settings"])
    text = (
        f"{figures['impressions']:,} impressions; {figures['peak_mib']:,} MiB at most. "
        f"The config with {settings}."
    )
    return "\n".join([*lines, "", text])


def span_windows(result: Result) -> str:
    """Transform's seconds and memory by the length of the window: ours, and TFX's own."""
    figures = result["figures"]
    lines = [
        "| spans | all new, s | one new, s | MiB | TFX: all new, s | TFX: one new, s | TFX: MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for window, ours in figures["ours"].items():
        tfx = figures["tfx"].get(window)
        keys = ("without_cache", "with_cache", "peak_mib")
        cells = [f"{one[key]:,}" if one else "-" for one in (ours, tfx) for key in keys]
        lines.append(f"| {window} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{figures['impressions']:,} impressions a span."])


def pipeline(result: Result) -> str:
    """Seconds by component, stock against ours; then ours as the rows grow, with memory."""
    figures, ratios = result["figures"], result["ratios"]
    compared = [size for size, by in figures.items() if "stock" in by]
    columns = [(size, name) for size in compared for name in _PIPELINES]
    parts = {column: _parts(figures[column[0]][column[1]]) for column in columns}
    header = [f"{_PIPELINES[name]}, {int(size):,}" for size, name in columns]
    lines = [f"| seconds | {' | '.join(header)} |", "|---|" + "---|" * len(columns)]
    for part in dict.fromkeys(part for of in parts.values() for part in of):
        cells = [f"{parts[c][part]['seconds']:.0f}" if part in parts[c] else "" for c in columns]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    for label, key, form in (
        ("whole process", "seconds", ",.0f"),
        ("peak MiB", "mib", ",.0f"),
        ("AUC", "auc", ".4f"),
    ):
        cells = [format(figures[size][name][key], form) for size, name in columns]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for size in compared:
        lines += [
            "",
            f"With {int(size):,} impressions ours is {ratios[f'vs_stock_tfx_{size}']:.2f} times as "
            f"fast on the same CSV, and {ratios[f'from_logs_vs_stock_tfx_{size}']:.2f} times from "
            "the raw logs, with the ETL that the stock pipeline is given.",
        ]
    return "\n".join([*lines, "", *_growth(figures)])


_PIPELINES = {"stock": "stock", "ours": "ours", "ours_from_logs": "ours from logs"}


def _parts(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Component -> seconds and MiB, of those above half a second; ExampleGen is either's."""
    return {
        "ExampleGen" if name.endswith("ExampleGen") else name: of
        for name, of in figures["components"].items()
        if of["seconds"] > 0.5
    }


def _growth(figures: dict[str, Any]) -> list[str]:
    """Ours from logs by size; the last column is from the largest two."""
    sizes = [size for size in sorted(figures, key=int) if "ours_from_logs" in figures[size]]
    found = {size: figures[size]["ours_from_logs"] for size in sizes}
    rows = {
        part: [_parts(of).get(part) for of in found.values()] for part in _parts(found[sizes[-1]])
    }
    rows["whole process"] = [*found.values()]
    header = " | ".join(f"{int(size):,}" for size in sizes)
    lines = [f"| ours from logs: seconds (peak MiB) | {header} | a million more |"]
    lines.append("|---|" + "---|" * (len(sizes) + 1))
    millions = (int(sizes[-1]) - int(sizes[-2])) / 1e6 if sizes[1:] else 0
    for part, of in rows.items():
        cells = [f"{one['seconds']:,.0f} ({one['mib']:,})" if one else "" for one in of]
        grown = ""
        if millions and of[-2] and of[-1]:
            grown = f"{(of[-1]['seconds'] - of[-2]['seconds']) / millions:.1f}"
        lines.append(f"| {part} | {' | '.join(cells)} | {grown} |")
    cells = [f"{of['seconds'] / int(size) * 1e6:,.0f}" for size, of in found.items()]
    lines.append(f"| seconds a million | {' | '.join(cells)} | |")
    return lines


def lineage(result: Result) -> str:
    """Seconds of each command, of a report and of the dashboard, with what was to be reached."""
    figures = result["figures"]
    goals = {"list": "0.5", "trace": "1"}
    executions, runs = f"{figures['executions']:,} executions", f"{figures['runs']:,} runs"
    lines = [f"| with {executions} in the store | seconds | at most | with 10 runs |"]
    lines.append("|---|---|---|---|")
    for name, seconds in figures["command_s"].items():
        label, ratio = _LINEAGE.get(name, f"`{name}`"), result["ratios"][f"{name}_vs_10_runs"]
        goal = goals.get(name, "")
        lines.append(f"| {label} | {seconds:.2f} | {goal} | {seconds / ratio:.2f} |")
    lines.append(f"| dashboard over {runs}: first paint | {figures['first_paint_s']:.2f} | 1 | |")
    of = f"a run of {figures['impressions']:,} impressions, {figures['report_mib']:.1f} MiB"
    lines.append(f"| report of {of} (at most 8) | {figures['report_s']:.2f} | 5 | |")
    return "\n".join(lines)


_LINEAGE = {
    "trace_oldest": "`trace` of the oldest model",
    "impact": "`impact` of the newest examples",
    "diff": "`diff` of the last two runs",
}


_FIRST = (example_gen, example_gen_wide, ctr_etl, quality, training, warm_start, serving)
_THEN = (serving_parts, streaming, freshness, span_windows, pipeline, lineage, small_tables)
TABLES: dict[str, Callable[[Result], str]] = {
    "input": input_alone,
    **{table.__name__: table for table in (*_FIRST, *_THEN)},
}


def written(document: str, results: Path) -> str:
    """The document with the tables of the results as they are now."""

    def table(match: re.Match[str]) -> str:
        name = match.group(2)
        result = json.loads((results / f"{name}.json").read_text("utf-8"))
        return f"{match.group(1)}{TABLES[name](result)}\n\n{_machine(result)}\n{match.group(3)}"

    return _BLOCK.sub(table, document)


def _machine(result: Result) -> str:
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    command = _COMMANDS.get(result["name"], result["name"])
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Python "
        f"{machine['python']}, {packages}; {machine['date'][:10]}, "
        f"`python -m benchmarks.{command}`."
    )


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(written(document.read_text("utf-8"), RESULTS), "utf-8")
