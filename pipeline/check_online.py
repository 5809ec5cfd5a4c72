"""Checks what a config says about served predictions, before anything runs."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ValidationError

from base.errors import first_problem
from base.section import ConfigError, closest
from pipeline.online_sections import ARM, ONLINE_METRICS, VERSION, OnlineRule, Served
from pipeline.streaming_sections import Streaming
from tabular.feature_set import FeatureSet
from tabular.metrics.metric_names import NEITHER

# What an hour's metrics are recorded with, beside the counts that streams and outcomes name.
_RECORDED = ("hour", ARM, VERSION, "events", "unlabelled")


def check_online(streaming: Streaming, features: FeatureSet, prediction: str) -> None:
    """Checks `streaming.served` and `streaming.online_rule`.

    Args:
      streaming: The section `streaming`.
      features: Features of the application's model.
      prediction: Name of the model's output.

    Raises:
      ConfigError: A metric is not one of the task, a bound cannot be judged, or a stream or column
        is unknown. The message is one line with the key.
    """
    _check_rule(streaming.online_rule, features.task)
    served = streaming.served
    if served is not None:
        _check_served(streaming, served, features, prediction)
        if served.at_last is not None:
            _check_outcome("later", served.at_last, streaming, features.task)
            if outcome_stream(streaming, served, features.task) == served.later:
                raise ConfigError(
                    f"streaming.served.later: events are judged by {served.later} already; name an "
                    "`outcome` that comes earlier"
                )


def served_stream(streaming: Streaming) -> str:
    """Returns the name of the stream of served events."""
    named = streaming.served.stream if streaming.served is not None else None
    return named or streaming.events


def _check_outcome(key: str, served: Served, streaming: Streaming, task: str) -> None:
    assert served.outcome is not None
    where, stream = f"streaming.served.{key}", served_stream(streaming)
    _check_known(where, served.outcome, streaming.outcomes)
    of = streaming.outcomes[served.outcome].of
    if of != stream:
        raise ConfigError(
            f"{where}: expected outcomes of the served {stream}. Received: {served.outcome}, which "
            f"are outcomes of {of}"
        )
    if served.label is not None:
        columns = streaming.streams[served.outcome].columns
        _check_known("streaming.served.label", served.label, columns)
    elif task != "binary":
        raise ConfigError(
            f"{where}: that an outcome followed is a label of binary models. The task is {task}: "
            "name the label's column, or the key of the ETL's rows"
        )


def outcome_stream(streaming: Streaming, served: Served, task: str) -> str | None:
    """Returns the name of the stream of outcomes that labels follow from; None without one."""
    if served.outcome is not None:
        return served.outcome
    if served.label is not None or served.key is not None or task != "binary":
        return None
    return next(iter(streaming.outcomes), None)


def _check_rule(rule: OnlineRule, task: str) -> None:
    key = "streaming.online_rule.thresholds"
    known = ONLINE_METRICS.get(task, {})
    for metric in rule.thresholds:
        if metric not in known:
            close = closest(metric, known)
            meant = f" Did you mean {close}?" if close else ""
            there = ", ".join(known) or "none"
            raise ConfigError(
                f"{key}: expected metrics of the task {task}: {there}. Received: {metric}.{meant}"
            )
    try:
        bounds = rule.bounds(task)
    except ValidationError as error:  # with the defaults
        raise ConfigError(f"{key}: {first_problem(error).lstrip(': ')}") from None
    for metric, bound in bounds.items():
        if bound.against_another and known[metric] == NEITHER:
            raise ConfigError(
                f"{key}.{metric}: neither higher nor lower values are better, so none is worse; "
                "use min and max"
            )
    if known and not bounds:
        raise ConfigError(
            f"{key}: no bound is left, and every canary would be promoted; keep at least one"
        )


def _check_served(
    streaming: Streaming, served: Served, features: FeatureSet, prediction: str
) -> None:
    stream, task = served_stream(streaming), features.task
    _check_known("streaming.served.stream", stream, streaming.streams)
    if stream in {*_RECORDED, *ONLINE_METRICS.get(task, {})}:
        raise ConfigError(f"streaming.served.stream: '{stream}' is recorded as something else")
    if served.outcome is not None:
        _check_outcome("outcome", served, streaming, task)
    elif served.label is served.key is None and outcome_stream(streaming, served, task) is None:
        raise ConfigError(
            "streaming.served: say what became of an event: `label`, a column with the label, or "
            "`key`, which finds the ETL's row"
        )
    columns = streaming.streams[stream].columns
    own = ("key", "group") if served.outcome is not None else ("label", "key", "group")
    for name in own:
        if (column := getattr(served, name)) is not None:
            _check_known(f"streaming.served.{name}", column, columns)
    if served.key is not None:
        _check_known("streaming.served.key", served.key, features.columns)
    needed = (ARM, VERSION, prediction)
    missing = [column for column in needed if column not in columns]
    if 0 < len(missing) < len(needed):
        raise ConfigError(
            f"streaming.{stream}.columns: a served event has {', '.join(needed)}. Missing: "
            f"{', '.join(missing)}"
        )


def _check_known(key: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        close = closest(name, known)
        meant = f" Did you mean {close}?" if close else ""
        raise ConfigError(
            f"{key}: expected one of {', '.join(known) or 'none'}. Received: {name}.{meant}"
        )
