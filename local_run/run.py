"""Runs a pipeline once, from its config to its summary."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from base.atomic_files import write_json
from base.failures import one_line
from base.locks import LockHeldError, acquire
from base.shared_names import RUN_LOCK, RUN_LOG, RUN_REPORT, RUN_SUMMARY, RUNS_FOLDER
from local_run.launches import Launch
from local_run.loaded_process import load_ahead, without_garbage_collection
from local_run.logs import captured_output
from local_run.memory import ComponentMemory, peak_memory
from local_run.screen import Screen, show_summary
from local_run.temporary import temporary_folder
from metadata.connection import connection_config
from pipeline.config import ConfigError, PipelineConfig


def run(config: PipelineConfig, runner: str) -> int:
    """Runs the pipeline; returns the process's exit code.

    Args:
      config: Config of the pipeline.
      runner: 'beam' or 'local', as in `run_pipeline`.
    """
    config.metadata_connection.password()  # fails now if it is missing
    with _only_run(config) as run_id:
        folder = config.run_folder / RUNS_FOLDER / run_id
        screens: list[Screen] = []
        show = lambda message: screens[0].say(message) if screens else None  # noqa: E731
        with captured_output(folder / RUN_LOG, show) as terminal:
            title = f"pipeline {config.name}, run {run_id}, log {folder / RUN_LOG}"
            with (
                temporary_folder(config.name),
                Screen(terminal, title) as screen,
                peak_memory() as peak,
            ):
                screens.append(screen)
                for warning in config.warnings:
                    screen.warn(warning)
                started = time.monotonic()
                failure = _launch(config, runner, run_id, screen, peak)
                screen.say("writing the summary")
                measured = {
                    "state": "failed" if failure else "complete",
                    "seconds": round(time.monotonic() - started, 1),
                    "peak_mib": peak.mib,
                    "error": failure,
                }
                summary, problem = _summarize(
                    config, run_id, measured, peak.by_component, folder / RUN_SUMMARY
                )
                wanted = summary is not None and config.report
                report = _report(config, run_id, folder / RUN_REPORT) if wanted else None
            if summary:
                show_summary(screen.console, summary, str(folder), report)
            if failure or problem:
                screen.error(f"{failure or problem} (log: {folder / RUN_LOG})")
    return 1 if failure or problem else 0


def _launch(
    config: PipelineConfig, runner: str, run_id: str, screen: Screen, peak: ComponentMemory
) -> str | None:
    """Runs every component; returns None, or the error in one line."""
    screen.say("loading TFX")
    if config.beam_pipeline_args is None:
        load_ahead()
    with without_garbage_collection():
        from local_run.beam_runner import check_beam_runner
        from local_run.beam_workers import beam_arguments
        from local_run.runners import run_pipeline
        from pipeline.pipeline import create_pipeline, local_locations

    failed: list[Launch] = []

    def report(launch: Launch) -> None:
        screen.report(launch)
        peak.report(launch)
        if launch.state == "failed":
            failed.append(launch)

    if config.beam_pipeline_args is None:
        config = config.model_copy(update={"beam_pipeline_args": beam_arguments()})
    check_beam_runner(config.beam_pipeline_args or ())
    try:
        pipeline = create_pipeline(
            config,
            local_locations(config),
            metadata_connection_config=connection_config(config.metadata_connection),
        )
        run_pipeline(pipeline, run_id, runner, report)
    except KeyboardInterrupt:
        _close_open_executions(config, run_id)
        return "interrupted; run again: what is complete will be taken from the cache"
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        _close_open_executions(config, run_id)
        if failed and failed[0].error is not None:
            return f"{failed[0].component}: {one_line(failed[0].error)}"
        return one_line(error)
    return None


def _close_open_executions(config: PipelineConfig, run_id: str) -> None:
    """Marks running executions as failed; a driver that fails leaves its execution RUNNING."""
    from metadata.writer import MetadataWriter

    try:
        MetadataWriter.connect(config.metadata_connection, config.name).fail_running(run_id)
    except Exception:  # the store itself may have failed; the first error is the one to report
        logging.getLogger(__name__).exception("cannot mark executions as failed")


def _summarize(
    config: PipelineConfig,
    run_id: str,
    measured: dict[str, Any],
    peaks: dict[str, int],
    path: Path,
) -> tuple[dict[str, Any] | None, str | None]:
    """Writes the summary to `path`; returns it, or None and the error in one line."""
    from local_run.summary import summarize
    from metadata.reader import MetadataReader

    try:
        store = MetadataReader.connect(config.metadata_connection)
        summary = summarize(config, store, run_id, measured, peaks)
        write_json(path, summary)
    except Exception as error:  # a full disk, or a run that ended before ML Metadata knew of it
        logging.getLogger(__name__).exception("no summary")
        return None, f"the summary could not be made: {one_line(error)}"
    return summary, None


def _report(config: PipelineConfig, run_id: str, path: Path) -> str | None:
    """Writes the report and returns its path; returns None if that fails, which fails no run."""
    from lineage.report.write import write_report
    from metadata.reader import MetadataReader

    try:
        store = MetadataReader.connect(config.metadata_connection)
        write_report(store, run_id, path.parent.parent, path)
    except Exception:
        logging.getLogger(__name__).exception("no report")
        return None
    return str(path)


@contextlib.contextmanager
def _only_run(config: PipelineConfig) -> Iterator[str]:
    """Yields the run's id while no other run of the pipeline can start: they share a cache."""
    with contextlib.ExitStack() as locks:
        locks.enter_context(_lock(config, config.run_folder))
        store = config.metadata_path.parent
        if config.metadata.kind == "sqlite" and store != config.run_folder:
            # `python -m lineage gc` takes it exclusively; other pipelines may share the store.
            locks.enter_context(_lock(config, store, shared=True))
        yield dt.datetime.now(dt.timezone.utc).strftime("%Y%m%d-%H%M%S")


def _lock(config: PipelineConfig, folder: Path, *, shared: bool = False) -> IO[bytes]:
    """Takes the lock of a folder.

    Raises:
      ConfigError: Another run holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return acquire(folder / RUN_LOCK, shared=shared)
    except LockHeldError:
        raise ConfigError(
            f"another run of '{config.name}' is in progress in {folder}; "
            "wait for it, or choose another run_root"
        ) from None
    except OSError as error:
        raise ConfigError(f"run_root: cannot write to {folder}: {error.strerror}") from None
