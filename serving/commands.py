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
from base.log_text import NotWithoutEnd, OneLine
from base.shared_names import MODELS_CONFIG
from pipeline.command_line import console, stop_event, with_config
from pipeline.config import ConfigError, PipelineConfig, load_config
from serving.option_flags import ServeCommand, server_flags

if TYPE_CHECKING:
    from components.pusher.intents import Intent
    from components.pusher.rollout import Rollout

# What the commands do is imported where they do it: --help does not wait for TensorFlow.
_ADDRESS = "127.0.0.1:8500"
_POLL_SECONDS = 0.5  # a promotion or a rollback is to be followed within a second


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Serves what the pipeline pushed, and decides what is live."""
    # Before TensorFlow is imported: no GPU search, no banner.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # what will be removed some day


@main.command(cls=ServeCommand)
@click.option("--config", "path", help="Serves what this pipeline pushes.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Changes one key.")
@server_flags
def serve(path: str | None, overrides: tuple[str, ...], **flags: Any) -> None:
    """A model server with TensorFlow Serving's gRPC and REST APIs.

    Name what to serve by --config, by --model-name and --model-base-path, or by
    --model-config-file. New versions are loaded as they appear; SIGTERM and Ctrl-C drain it.
    Flags may be spelled as TensorFlow Serving's are: --model_name=NAME, --enable_batching=false.
    """
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    config = None
    try:
        if path is not None:
            config = load_config(path, overrides)
            given = {**_of_config(config), **given}
        from serving.server.options import ServerOptions

        options = ServerOptions(**given)
    except ConfigError as error:
        raise Failure(error) from None
    except ValidationError as error:
        raise Failure(first_problem(error).lstrip(": ")) from None
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    handler.addFilter(NotWithoutEnd())
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    logging.getLogger("absl").setLevel(logging.ERROR)
    # A stack for each message that is none: the client is told, the log need not be.
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
    """Records what became live while nobody could; a server need not wait for that."""
    from serving.release.settle import settle_if_possible

    for line in settle_if_possible(config):
        logging.getLogger(__name__).warning("%s", line)


def _of_config(config: PipelineConfig) -> dict[str, Any]:
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
            "request_log_user": log.user,
            "request_log_item": log.item,
        }
    return options


@main.command()
@click.option("--server", default=_ADDRESS, show_default=True, help="host:port of gRPC.")
@click.option("--count", default=5, show_default=True, help="Candidates to ask for.")
@click.option("--user", default="u1", show_default=True, help="Decides between the arms.")
@with_config
def predict(config: PipelineConfig, server: str, count: int, user: str) -> None:
    """Asks a running server for the scores of some examples of the last run."""
    import grpc
    import tensorflow as tf

    from components.pusher.model_servers import connection_of
    from serving.client.client import RankingClient
    from serving.examples import last_examples, without_label
    from serving.request_log.writer import first_value

    raw = last_examples(config.run_folder, config.split.judged, count)
    sent = [without_label(one, config.evaluator.label) for one in raw]
    percent = config.serving.canary_percent
    way = connection_of(config.serving.followers())
    client_of = functools.partial(
        RankingClient, token=way.token(), root_certificates=way.authority(), tls_name=way.tls_name
    )
    with client_of(server, config.name, canary_percent=percent, timeout_s=10) as client:
        try:
            answer = client.score(user, sent)
        except grpc.RpcError as error:
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            silent = not isinstance(error, grpc.Call) or error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            )
            hint = (
                ". Is it running (`serve` says 'gRPC on' once its model is loaded), and does it "
                "want TLS or a token (serving.tls_ca, serving.token_env)?"
                if silent
                else ""
            )
            raise ComponentError(f"{server}: {details}{hint}") from None
    log = config.serving.request_log
    shown = [log.user, log.item] if log else []
    table = Table(*shown, "score", config.evaluator.label)
    for serialized, score in zip(raw, answer.scores, strict=True):
        example = tf.train.Example.FromString(serialized)
        cells = [str(first_value(example, name)) for name in shown]
        table.add_row(*cells, f"{score:.4f}", str(first_value(example, config.evaluator.label)))
    console().print(f"{config.name} version {answer.version}, arm {answer.arm}")
    console().print(table)


@main.command()
@with_config
def versions(config: PipelineConfig) -> None:
    """What there is, what is live, and how good each version was when it was pushed."""
    from serving.release.settle import settle_if_possible
    from serving.release.versions import version_lines

    for said in settle_if_possible(config):
        console().print(said)
    table = Table(
        "version", "live as", "pushed", "run", "AUC", "log loss", "calibration",
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    lines = version_lines(config)
    for line in lines:
        figures = [
            "" if line.metrics.get(name) is None else f"{line.metrics[name]:.4f}"
            for name in ("auc", "log_loss", "calibration")
        ]
        pushed = f"{line.pushed:%m-%d %H:%M}" if line.pushed else ""
        label = line.label if line.withdrawn is None else "withdrawn"
        table.add_row(str(line.version), label, pushed, line.run_id, *figures)
    console().print(table)
    if not any(line.label for line in lines):
        console().print(
            f"{config.serving_folder / MODELS_CONFIG} is missing: nobody knows which version is "
            "live, and a server that starts serves none. Name it: rollback --to VERSION"
        )
    for line in lines:
        if line.withdrawn is not None:
            console().print(f"{line.version} was withdrawn: {line.withdrawn}")


_following = click.option(
    "--server", "servers", multiple=True, metavar="HOST:PORT",
    help=f"To wait for; may be given several times. Default: serving.servers, or {_ADDRESS}.",
)  # fmt: skip


@main.command()
@_following
@with_config
def promote(config: PipelineConfig, servers: tuple[str, ...]) -> None:
    """Makes the canary the stable version.

    Nothing changes where a server could not load the canary.
    """
    from serving.release.switch import promote

    _switch(config, lambda rollout: promote(config.serving_folder, rollout=rollout), servers)


@main.command()
@click.option("--to", type=int, help="Version to be stable; default: the one before.")
@click.option("--reason", default="rolled back by hand", show_default=True)
@_following
@with_config
def rollback(config: PipelineConfig, to: int | None, reason: str, servers: tuple[str, ...]) -> None:
    """Undoes what became live last: the canary if there is one, else the stable version.

    The version that was stable before is still loaded, so it takes over at once. A version that
    is named by --to is loaded first.
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

    # ML Metadata's library takes seconds: what is live has changed by now.
    from serving.release.follow import followed
    from serving.release.record import record_in
    from serving.release.settle import said_of, settle

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
            f"{server}: {problem}" if problem else f"{server} follows, within {seconds:.2f} s"
        )
    try:
        earlier = [said_of(one) for one in settle(config) if one.id != switch.id]
        execution = record_in(config, switch)
    except ComponentError as error:
        raise ComponentError(
            f"it is done, and not yet recorded: {error}. Every later command, and the next start "
            "of a server, records it"
        ) from None
    for said in earlier:
        console().print(said)
    console().print(
        f"recorded as execution {execution}: python -m lineage show execution:{execution}"
    )


@main.command()
@click.option("--log", type=click.Path(path_type=Path), help="Default: the config's.")
@click.option("--version", type=int, help="Default: the stable one.")
@with_config
def skew(config: PipelineConfig, log: Path | None, version: int | None) -> None:
    """Replays logged requests through the training graph: is what was served what was trained?

    Exits with 1 if a feature or a score differs.
    """
    from components.pusher.release import read_release
    from serving.release.versions import transform_graph_of
    from serving.request_log.reader import read_predictions
    from serving.skew import TrainingGraph, find_skew

    folder = log or (config.serving.request_log.folder if config.serving.request_log else None)
    if folder is None:
        raise ComponentError("name the request log by --log, or serving.request_log in the config")
    if version is None:
        release = read_release(config.serving_folder)
        if release is None:
            raise ComponentError(f"nothing was pushed to {config.serving_folder} yet")
        version = release.stable
    served = config.serving_folder / str(version)
    graph = TrainingGraph(transform_graph_of(config, version), served)
    found = find_skew(read_predictions(folder, version), served, graph)
    console().print(
        f"version {version}: {found.rows:,} logged rows, {len(found.features)} features compared; "
        f"largest difference of scores {found.largest:.2g}"
    )
    if not found.differences:
        console().print("no skew: every feature and every score is that of the training graph")
        return
    table = Table("differs", "rows", "first at", "served", "trained")
    for difference in found.differences:
        request, place, one, other = difference.example
        table.add_row(difference.name, f"{difference.rows:,}", f"{request}[{place}]", one, other)
    console().print(table)
    raise SystemExit(1)


@main.command("export-config")
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option(
    "--base-path", help="Of the versions as TensorFlow Serving sees it; default: as here."
)
@with_config
def export_config(config: PipelineConfig, out: Path, base_path: str | None) -> None:
    """Files to run TensorFlow Serving with on what is live here."""
    from serving.export_config import export_config

    for path in export_config(config.serving_folder, out, base_path=base_path):
        console().print(str(path))


@main.command()
@click.option("--server", default=_ADDRESS, show_default=True, help="host:port of gRPC.")
@click.option("--rate", default=100.0, show_default=True, help="Requests a second, on average.")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--candidates", default=100, show_default=True, help="Examples a request.")
@click.option("--label", help="Of the version to ask; default: the newest.")
@click.option("--seed", default=1, show_default=True, help="Of the arrivals.")
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
    """Latency of a running server under an open load: Poisson arrivals, counted from when due."""
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
