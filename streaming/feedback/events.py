"""A line of the request log as the impressions it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What the ranking service sent along for the log, not for the events.
_NOT_OF_AN_EVENT = ("shown", "positions", "propensities", "explored")
_TIME = "timestamp_ms"


def impressions_of(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events of a line; none for a request that only ranked candidates.

    Args:
      line: as serving/request_log writes it; of requests that PageRanker made, `context` says what
        was shown.

    Returns:
      For each item shown: impression_id, user_id, item_id, position, timestamp_ms (of the context
      if it has one, else when it was logged), arm (likewise, else the label asked for), version,
      probability (as the model had it at that position), propensity, explored, and the rest of the
      context.
    """
    context = line.get("context")
    if not isinstance(context, Mapping) or not context.get("shown"):
        return []
    common = {name: value for name, value in context.items() if name not in _NOT_OF_AN_EVENT}
    common = {_TIME: line[_TIME], **common}
    common = {"arm": line["label"], **common}
    common |= {"user_id": line["user_id"], "version": line["version"]}
    common["explored"] = bool(context.get("explored"))
    columns = ("shown", "positions", "propensities")
    shown = zip(*(context[name] for name in columns), line["item_id"], line["scores"], strict=True)
    return [
        {
            "impression_id": impression_id,
            "item_id": item_id,
            "position": position,
            "probability": probability,
            "propensity": propensity,
            **common,
        }
        for impression_id, position, propensity, item_id, probability in shown
    ]
