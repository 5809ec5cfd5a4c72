"""Turns a line of the request log into impressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from base.signature import SIGNATURE, is_signed
from streaming.feedback.rejected import RequestLineError

_MOST_SHOWN, _MOST_EXTRA = 1_000, 64
_Id = Annotated[str, StringConstraints(max_length=1_024)]
_Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Score = Annotated[float, Field(allow_inf_nan=False)]


# Fields that come from the log, a signature or the outcome; a context must not set them.
_OURS = (
    "impression_id", "user_id", "item_id", "position", "timestamp_ms", "arm", "version",
    "probability", "propensity", "explored", "clicked", SIGNATURE,
)  # fmt: skip


class _Context(BaseModel):
    """The context sent by the ranking service; extra fields become part of the events."""

    model_config = ConfigDict(extra="allow")

    shown: list[_Id] = Field(min_length=1, max_length=_MOST_SHOWN)
    positions: list[Annotated[int, Field(ge=0, lt=1 << 31)]]
    propensities: list[_Probability]
    explored: bool = False
    arm: _Id | None = None
    timestamp_ms: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None


class _Keys(BaseModel):
    """Values of the features in `serving.request_log.keys`, for each example of a request."""

    user_id: list[_Id] = Field(min_length=1)
    item_id: list[_Id]


class _Line(BaseModel):
    """A line of the request log."""

    request_id: str
    timestamp_ms: int
    version: int
    label: str
    keys: _Keys
    scores: list[_Score]
    context: _Context

    @model_validator(mode="after")
    def _alike(self) -> _Line:
        said = self.context
        columns = (said.positions, said.propensities, self.keys.item_id, self.scores)
        if any(len(column) != len(said.shown) for column in columns):
            raise ValueError("expected one position, propensity, item and score per shown item")
        if len(said.model_extra or {}) > _MOST_EXTRA:
            raise ValueError(f"expected at most {_MOST_EXTRA} extra keys in the context")
        return self


def events_of_request(line: Mapping[str, Any], key: bytes | None = None) -> list[dict[str, Any]]:
    """Returns the events of a line; none for a request that only ranked candidates.

    Args:
      line: Line as serving/request_log writes it. PageRanker puts the shown items into `context`.
      key: Key that ranking services sign contexts with. Every client may send a context, so without
        a key its timestamp, arm and propensities are ignored.

    Returns:
      An event for each shown item with impression_id, user_id, item_id, position, timestamp_ms (of
      the log), arm (the requested label), version, probability (predicted at that position), and
      the rest of the context. For a signed context also propensity and explored, and its own
      timestamp_ms and arm if it has them.

    Raises:
      RequestLineError: The line says what was shown, but is malformed or not signed.
    """
    context = line.get("context")
    if not isinstance(context, Mapping) or "shown" not in context:
        return []
    if key is not None and not is_signed(key, str(line.get("request_id", "")), context):
        raise RequestLineError("context: it is not signed with the ranking services' key")
    try:
        found = _Line.model_validate(line)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise RequestLineError(f"{where}: {problem['msg']}") from None
    said = found.context
    is_believed = key is not None
    extra = {k: value for k, value in (said.model_extra or {}).items() if k not in _OURS}
    common = {
        **extra,
        "timestamp_ms": found.timestamp_ms,
        "arm": found.label,
        "user_id": found.keys.user_id[0],
        "version": found.version,
    }
    if is_believed:
        common["explored"] = said.explored
        common |= {} if said.timestamp_ms is None else {"timestamp_ms": said.timestamp_ms}
        common |= {} if said.arm is None else {"arm": said.arm}
    shown = zip(
        said.shown, said.positions, said.propensities, found.keys.item_id, found.scores, strict=True
    )
    return [
        {
            **common,
            "impression_id": impression_id,
            "item_id": item_id,
            "position": position,
            "probability": probability,
            **({"propensity": propensity} if is_believed else {}),
        }
        for impression_id, position, propensity, item_id, probability in shown
    ]
