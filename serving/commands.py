"""serve, predict, versions, promote, rollback, skew, bench, export-config."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError
from rich.table import Table

from base.console import Failure
from base.errors import ComponentError, first_problem
from base.log_text import OneLineFormatter, RateLimit
from base.model_outputs import DECISION
from base.shared_names import MODELS_CONFIG
from pipeline.command_line import console, stop_event, with_config
from pipeline.config import ConfigError, PipelineConfig, load_config
from serving.option_flags import ServeCommand, server_flags

if TYPE_CHECKING:
    from components.pusher.intents import Intent
    from components.pusher.rollout import Rollout

# Commands import their modules when they run, so that --help does not wait for TensorFlow.
_ADDRESS = "127.0.0.1:8500"
_POLL_SECONDS = 0.5  # servers follow a promotion or rollback within a second


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Serves pushed models and changes which version is live."""
    # Silences TensorFlow's messages about GPUs and deprecations. Must precede its import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@main.command(cls=ServeCommand)
@click.option("--config", "path", help="Config file of the pipeline whose model is served.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Overrides a key of the config."
)
@server_flags
def serve(path: str | None, overrides: tuple[str, ...], **flags: Any) -> None:
    """Runs a model server with TensorFlow Serving's gRPC and REST APIs.

    Choose the models with --config, with --model-name and --model-base-path, or with
    --model-config-file. The server loads new versions as they appear. SIGTERM and Ctrl-C drain it.
    TensorFlow Serving's spelling of flags is accepted: --model_name=NAME, --enable_batching=false.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    config = None
    try:
        if path is not None:
            config = load_config(path, overrides)
            given = {**server_settings(config), **given}
        from serving.server.options import ServerOptions

        options = ServerOptions(**given)
    except ConfigError as error:
        raise Failure(error) from None
    except ValidationError as error:
        raise Failure(first_problem(error).lstrip(": ")) from None
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter())
    handler.addFilter(RateLimit())
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    logging.getLogger("absl").setLevel(logging.ERROR)
    # grpc logs a stack for each invalid message, but the client already gets the error.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    from serving.server.run import OptionsError, serve

    def wait() -> None:
        stopping = stop_event()
        if config is not None:
            threading.Thread(target=_settle, args=(config,), name="settle", daemon=True).start()
        stopping.wait()

    try:
        serve(options, wait)
    except OptionsError as error:
        raise Failure(error) from None


def _settle(config: PipelineConfig) -> None:
    """Records earlier releases that are not recorded yet. The server does not wait for it."""
    from serving.release.settle import settle_if_possible

    for line in settle_if_possible(config):
        logging.getLogger(__name__).warning("%s", line)


def server_settings(config: PipelineConfig) -> dict[str, Any]:
    """Returns the ServerOptions that serve a pipeline's model."""
    log = config.serving.request_log
    options: dict[str, Any] = {
        "model_name": config.name,
        "model_base_path": config.serving_folder,
        "poll_seconds": _POLL_SECONDS,
    }
    if log is not None:
        options |= {
            "request_log": log.folder,
            "request_log_rate": log.rate,
            "request_log_key": log.keys,
        }
    return options


@main.command()
@click.option("--server", default=_ADDRESS, show_default=True, help="host:port of the gRPC server.")
@click.option("--count", default=5, show_default=True, help="Number of examples to score.")
@click.option(
    "--unit", default="u1", show_default=True, help="Text that decides between stable and canary."
)
@with_config
def predict(config: PipelineConfig, server: str, count: int, unit: str) -> None:
    """Scores some examples of the last run with a running server."""
    import grpc
    import numpy as np
    import tensorflow as tf

    from components.pusher.model_servers import connection_of
    from serving.client.client import ScoringClient
    from serving.examples import last_examples, without_label
    from serving.request_log.writer import first_value

    raw = last_examples(config.run_folder, config.split.judged, count)
    sent = [without_label(one, config.evaluator.label) for one in raw]
    percent = config.serving.canary_percent
    way = connection_of(config.serving.followers())
    client_of = functools.partial(
        ScoringClient, token=way.token(), root_certificates=way.authority(), tls_name=way.tls_name
    )
    with client_of(server, config.name, canary_percent=percent, timeout_s=10) as client:
        try:
            answer = client.score(unit, sent)
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            is_silent = not isinstance(error, grpc.Call) or error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            hint = (
                ". Check that it is running (`serve` logs 'gRPC on' once its model is loaded), and "
                "whether it requires TLS or a token (serving.tls_ca, serving.token_env)"
                if is_silent
                else ""
            )
            raise ComponentError(f"{server}: {details}{hint}") from None
    log = config.serving.request_log
    shown = log.keys if log else ()
    decided = [DECISION] if answer.decisions is not None else []
    table = Table(*shown, "score", *decided, config.evaluator.label)
    features = config.loaded_application().features
    scores = np.reshape(answer.scores, [len(raw), -1])
    for place, (serialized, of_example) in enumerate(zip(raw, scores, strict=True)):
        example = tf.train.Example.FromString(serialized)
        cells = [str(first_value(example, name)) for name in shown]
        best = int(of_example.argmax())
        likeliest = f"{features.classes[best]} " if features.task == "multiclass" else ""
        label = str(first_value(example, config.evaluator.label))
        decision = [] if answer.decisions is None else ["review" * answer.decisions[place]]
        table.add_row(*cells, f"{likeliest}{of_example[best]:.4f}", *decision, label)
    console().print(f"{config.name} version {answer.version}, arm {answer.arm}")
    console().print(table)


@main.command()
@with_config
def versions(config: PipelineConfig) -> None:
    """Lists the versions with their labels, and their metrics at the time of the push."""
    from serving.release.settle import settle_if_possible
    from serving.release.versions import shown_metrics, version_lines

    for message in settle_if_possible(config):
        console().print(message)
    lines = version_lines(config)
    metrics = shown_metrics(config, lines)
    table = Table(
        "version", "live as", "pushed", "run", *metrics,
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    for line in lines:
        figures = [
            "" if line.metrics.get(name) is None else f"{line.metrics[name]:.4f}"
            for name in metrics
        ]
        pushed = f"{line.pushed:%m-%d %H:%M}" if line.pushed else ""
        label = line.label if line.withdrawn is None else "withdrawn"
        table.add_row(str(line.version), label, pushed, line.run_id, *figures)
    screen = console()  # as wide as the table: rich would cut the numbers of many metrics
    wanted = screen.measure(table, options=screen.options.update(width=1000)).maximum
    screen.width = max(screen.width, wanted)
    screen.print(table)
    if not any(line.label for line in lines):
        console().print(
            f"{config.serving_folder / MODELS_CONFIG} is missing: it is unknown which version is "
            "live, and a new server serves none. Name the version with rollback --to VERSION"
        )
    for line in lines:
        if line.withdrawn is not None:
            console().print(f"{line.version} was withdrawn: {line.withdrawn}")


_following = click.option(
    "--server", "servers", multiple=True, metavar="HOST:PORT",
    help=f"Server to wait for; may be repeated. Default: serving.servers, or {_ADDRESS}.",
)  # fmt: skip


@main.command()
@_following
@with_config
def promote(config: PipelineConfig, servers: tuple[str, ...]) -> None:
    """Makes the canary the stable version.

    Nothing changes if a server could not load the canary.
    """
    from serving.release.switch import promote

    _switch(config, lambda rollout: promote(config.serving_folder, rollout=rollout), servers)


@main.command()
@click.option("--to", type=int, help="Version to make stable; default: the previous one.")
@click.option(
    "--reason", default="rolled back by hand", show_default=True, help="Recorded with the rollback."
)
@_following
@with_config
def rollback(config: PipelineConfig, to: int | None, reason: str, servers: tuple[str, ...]) -> None:
    """Withdraws the canary if there is one, else the stable version.

    The previous stable version is still loaded, so it takes over at once. Another version, named
    with --to, is loaded first.
    """
    from serving.release.switch import rollback

    _switch(
        config,
        lambda rollout: rollback(config.serving_folder, to, reason, rollout=rollout),
        servers,
    )


def _switch(
    config: PipelineConfig, change: Callable[[Rollout], Intent], named: tuple[str, ...]
) -> None:
    from components.pusher.rollout import Rollout

    followers = config.serving.followers()
    servers = named or followers.servers
    followers = dataclasses.replace(
        followers, servers=servers or (_ADDRESS,), expected=bool(servers)
    )
    started = time.monotonic()
    switch = change(Rollout(followers, say=console().print))
    from components.pusher.model_servers import connection_of

    # Importing ML Metadata takes seconds, so the release is changed first.
    from serving.release.follow import followed
    from serving.release.record import record_in
    from serving.release.settle import describe, settle

    problems = followed(config.name, switch.after, followers.servers, connection_of(followers))
    seconds = time.monotonic() - started
    before = switch.before.labels if switch.before is not None else {}
    after = switch.after.labels
    for label in sorted({*before, *after}):
        was, now = before.get(label, "none"), after.get(label, "none")
        console().print(f"{label:<9} {was} -> {now}" if was != now else f"{label:<9} {now}")
    for version, reason in switch.withdrawn.items():
        console().print(f"withdrawn {version}: {reason}")
    if switch.reason and not switch.withdrawn:
        console().print(f"reason: {switch.reason}")
    for server, problem in problems.items():
        console().print(
            f"{server}: {problem}" if problem else f"{server} followed within {seconds:.2f} s"
        )
    try:
        earlier = [describe(one) for one in settle(config) if one.id != switch.id]
        execution = record_in(config, switch)
    except ComponentError as error:
        raise ComponentError(
            f"the release has changed but is not recorded yet: {error}. The next command or start "
            "of a server will record it"
        ) from None
    for message in earlier:
        console().print(message)
    console().print(
        f"recorded as execution {execution}: python -m lineage show execution:{execution}"
    )


@main.command()
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    help="Folder of the request log; default: the config's.",
)
@click.option("--version", type=int, help="Version to compare; default: the stable one.")
@with_config
def skew(config: PipelineConfig, log: Path | None, version: int | None) -> None:
    """Replays logged requests through the training graph and compares features and scores.

    Exits with 1 if a feature or a score differs.
    """
    from components.pusher.release import read_release
    from serving.release.versions import transform_graph_of
    from serving.request_log.reader import read_predictions
    from serving.skew import TrainingGraph, find_skew

    folder = log or (config.serving.request_log.folder if config.serving.request_log else None)
    if folder is None:
        raise ComponentError("name the request log with --log or serving.request_log in the config")
    if version is None:
        release = read_release(config.serving_folder)
        if release is None:
            raise ComponentError(
                f"nothing was pushed to {config.serving_folder} yet. Run the pipeline first"
            )
        version = release.stable
    served = config.serving_folder / str(version)
    graph = TrainingGraph(transform_graph_of(config, version), served)
    found = find_skew(read_predictions(folder, version), served, graph)
    console().print(
        f"version {version}: {found.rows:,} logged rows, {len(found.features)} features compared; "
        f"largest difference of scores {found.largest:.2g}"
    )
    if not found.differences:
        console().print("no skew: all features and scores equal those of the training graph")
        return
    table = Table("differs", "rows", "first at", "served", "trained")
    for difference in found.differences:
        request, place, one, other = difference.example
        table.add_row(difference.name, f"{difference.rows:,}", f"{request}[{place}]", one, other)
    console().print(table)
    raise SystemExit(1)


@main.command("export-config")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder to write the files to."
)
@click.option(
    "--base-path", help="Path of the versions for TensorFlow Serving; default: as for the pipeline."
)
@with_config
def export_config(config: PipelineConfig, out: Path, base_path: str | None) -> None:
    """Writes the files that run TensorFlow Serving on the live versions."""
    from serving.export_config import export_config

    for path in export_config(config.serving_folder, out, base_path=base_path):
        console().print(str(path))


@main.command()
@click.option("--server", default=_ADDRESS, show_default=True, help="host:port of the gRPC server.")
@click.option("--rate", default=100.0, show_default=True, help="Average requests per second.")
@click.option("--seconds", default=60.0, show_default=True, help="Duration.")
@click.option("--candidates", default=100, show_default=True, help="Examples per request.")
@click.option("--label", help="Label of the version to ask; default: the newest version.")
@click.option("--seed", default=1, show_default=True, help="Seed of the arrival times.")
@with_config
def bench(
    config: PipelineConfig,
    server: str,
    rate: float,
    seconds: float,
    candidates: int,
    label: str | None,
    seed: int,
) -> None:
    """Measures the latency of a running server under an open load with Poisson arrivals."""
    from components.model_canary.requests import request_of
    from components.pusher.model_servers import connection_of
    from serving.client.load import run_load
    from serving.client.load_report import print_load
    from serving.examples import last_examples, without_label

    pool = last_examples(config.run_folder, config.split.judged, 50 * candidates)
    sent = [without_label(one, config.evaluator.label) for one in pool]
    requests = [
        request_of(config.name, sent[start : start + candidates], label).SerializeToString()
        for start in range(0, len(sent), candidates)
    ]
    channel_of = connection_of(config.serving.followers()).channel
    with channel_of(server) as channel, console().status("") as status:
        load = run_load(
            channel,
            requests,
            rate=rate,
            seconds=seconds,
            seed=seed,
            each_second=lambda now: status.update(f"{now:.0f} of {seconds:.0f} s"),
        )
    print_load(load, console())
    if load.errors:
        raise SystemExit(1)
