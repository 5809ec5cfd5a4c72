"""`python -m applications schema`: writes a curated schema from the examples of the ETL."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from applications.commands.group import (
    main,
    of_an_application,
    one_line_errors,
    progress_console,
    result_console,
    shown_progress,
)
from base.atomic_files import write_text
from base.errors import ComponentError

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig


@main.command()
@of_an_application
@click.option("--rows", type=click.IntRange(min=1), help="Size of a sample.  [default: all rows]")
@click.option(
    "--close-vocabularies",
    is_flag=True,
    help="A new value of a category stops a run. For texts with at most 100 values.",
)
@click.option("--force", is_flag=True, help="Replace a schema that differs.")
@one_line_errors
def schema(
    path: str, overrides: tuple[str, ...], rows: int | None, close_vocabularies: bool, force: bool
) -> None:
    """Writes a curated schema: what every example must be.

    \b
    Examples:
      python -m applications schema churn
      python -m applications schema churn --close-vocabularies --force
      python -m applications schema --config mine/configs/mine.yaml --rows 100000

    The ETL runs on the data, and StatisticsGen's statistics of its examples give types and
    presence. Read the file before you commit it: each later run is held against it. If there is
    another schema already, its difference is shown and nothing is written without --force.
    """
    from applications.commands.curation import schema_text
    from pipeline.config import read_config

    config = read_config(path, overrides)
    features = config.loaded_application().features
    made, count = _made(config, rows, close_vocabularies)
    target = Path(config.schema_file)
    sampled = f"a sample of {count:,}" if rows else f"{count:,}"
    head = [
        f"Schema of the examples of {config.application}.",
        "",
        f"`python -m applications schema` made it from {sampled} examples. It is curated:",
        "change it by hand, with the reason. What does not fit stops a run at AnomalyGate.",
    ]
    text = schema_text(made, features, head)
    write_schema(target, text, force)
    counted = f"{len(made.feature)} features, {len(made.string_domain)} closed vocabularies"
    result_console().print(f"{target}: {counted}, from {sampled} examples")


def _made(config: PipelineConfig, rows: int | None, close_vocabularies: bool):  # type: ignore[no-untyped-def]
    from applications.commands.curation import MOST_CLOSED, curated_schema

    with tempfile.TemporaryDirectory(prefix="schema-") as folder:
        examples = write_examples(config, rows, Path(folder))
        progress_console().print("  computing statistics", style="dim")
        logging.getLogger("absl").setLevel(logging.ERROR)
        import tensorflow_data_validation as tfdv

        statistics = tfdv.generate_statistics_from_tfrecord(f"{examples}/Split-all/*.gz")
    inferred = tfdv.infer_schema(statistics, max_string_domain_size=MOST_CLOSED)
    features = config.loaded_application().features
    found = statistics.datasets[0]
    made = curated_schema(found, inferred, features, close_vocabularies)
    return made, found.num_examples


def write_examples(config: PipelineConfig, rows: int | None, folder: Path) -> Path:
    """Runs the ETL as SparkExampleGen does, into one split `all`; returns the examples' folder.

    Args:
      config: Config of the pipeline; its schema is not looked at.
      rows: Size of a sample of the primary source; None for all rows.
      folder: Empty folder.

    Raises:
      ComponentError: The data cannot be read, or the ETL fails.
    """
    from applications.commands.sampling import of_a_sample
    from base.code_fingerprint import code_sha256
    from local_run.sample import ensure_sample_data
    from spark_io.example_job import InputRequest, JobRequest
    from spark_io.example_job_process import run_job
    from spark_io.examples.splits import HashSplits
    from spark_io.sources.source_types import sources_to_json

    ensure_sample_data(config)
    config = of_a_sample(config, rows) if rows else config
    etl = config.etl.function or config.loaded_application().build_examples
    examples = folder / "examples"
    request = JobRequest(
        inputs=InputRequest(
            input_base=str(Path(config.data_root).resolve()),
            sources=sources_to_json(config.sources),
            length=config.spans.window,
            last=config.spans.last,
            decided={},
            fingerprint=None,
            spark=dataclasses.asdict(config.spark.spark_config()),
        ),
        etl=etl,
        etl_parameters=config.etl.parameters,
        etl_code_sha256=code_sha256(etl),
        splits=dataclasses.asdict(HashSplits(("all",), (1,))),
        row_accounting=config.etl.row_accounting,
        max_quarantine_fraction=config.etl.max_quarantine_fraction,
        examples_uri=str(examples),
        quarantine_uri=str(folder / "quarantine"),
    )
    with shown_progress():
        manifest = run_job({"run": dataclasses.asdict(request)})["manifest"]
    counted = manifest["rows"]
    progress_console().print(
        f"  {counted['read']:,} rows read = {counted['splits']['all']:,} examples, "
        f"{counted['quarantined']:,} quarantined, {counted['dropped']:,} dropped",
        style="dim",
    )
    for source, reasons in manifest["quarantined"].items():
        for reason, count in reasons.items():
            progress_console().print(f"    {source}: {reason} {count:,}", style="dim")
    return examples


def write_schema(target: Path, text: str, force: bool) -> None:
    """Writes a schema, unless another one is there and `force` is false.

    Raises:
      ComponentError: The schema that is there differs; the difference was shown.
    """
    before = target.read_text("utf-8") if target.exists() else None
    if before is not None and before != text and not force:
        changes = difflib.unified_diff(
            before.splitlines(), text.splitlines(), str(target), "from this data", n=2, lineterm=""
        )
        console = result_console()
        for line in changes:
            console.print(line)
        raise ComponentError(
            f"{target} exists and differs as shown; nothing was written. Edit it by hand, or "
            "replace it with --force"
        )
    write_text(target, text)
