"""A line of the request log as the impressions it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class LineError(ValueError):
    """A line whose context is not as a ranking service sends it; the text is one line."""


class _Context(BaseModel):
    """What the ranking service sent along; what else there is becomes part of the events."""

    model_config = ConfigDict(extra="allow")

    shown: list[str] = Field(min_length=1)
    positions: list[int]
    propensities: list[float]
    explored: bool = False
    arm: str | None = None
    timestamp_ms: int | None = None


class _Line(BaseModel):
    """Of serving/request_log."""

    timestamp_ms: int
    version: int
    label: str
    user_id: str
    item_id: list[str]
    scores: list[float]
    context: _Context

    @model_validator(mode="after")
    def _alike(self) -> _Line:
        said = self.context
        columns = (said.positions, said.propensities, self.item_id, self.scores)
        if any(len(column) != len(said.shown) for column in columns):
            raise ValueError("as many positions, propensities, items and scores as were shown")
        return self


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

    Raises:
      LineError: it says what was shown, but not as it should: anybody may send a context.
    """
    context = line.get("context")
    if not isinstance(context, Mapping) or "shown" not in context:
        return []
    try:
        found = _Line.model_validate(line)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise LineError(f"{where}: {problem['msg']}") from None
    said = found.context
    common = {
        **(said.model_extra or {}),
        "timestamp_ms": found.timestamp_ms if said.timestamp_ms is None else said.timestamp_ms,
        "arm": found.label if said.arm is None else said.arm,
        "user_id": found.user_id,
        "version": found.version,
        "explored": said.explored,
    }
    shown = zip(
        said.shown, said.positions, said.propensities, found.item_id, found.scores, strict=True
    )
    return [
        {
            **common,
            "impression_id": impression_id,
            "item_id": item_id,
            "position": position,
            "probability": probability,
            "propensity": propensity,
        }
        for impression_id, position, propensity, item_id, probability in shown
    ]
