"""Turns a line of the request log into the payment that was scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from base.signature import is_signed
from streaming.feedback.rejected import RequestLineError

_Id = Annotated[str, StringConstraints(max_length=1_024)]
_Number = Annotated[int, Field(ge=-(1 << 53), lt=1 << 53)]


class _Payment(BaseModel):
    """The payment, as the client of the model server put it into the context."""

    payment_id: _Id
    card: _Id
    merchant: _Id
    device: _Id | None
    network: _Id | None
    country: _Id | None
    amount_cents: _Number
    timestamp_ms: _Number


class _Context(BaseModel):
    payment: _Payment
    arm: _Id | None = None


class _Line(BaseModel):
    """A line of the request log."""

    request_id: str
    version: int
    label: str
    scores: list[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]] = Field(
        min_length=1, max_length=1
    )
    context: _Context


def events_of_request(line: Mapping[str, Any], key: bytes | None = None) -> list[dict[str, Any]]:
    """Returns the payment of a line, with what was predicted; none for a request without one.

    Args:
      line: Line as serving/request_log writes it. PaymentScorer puts the payment into `context`.
      key: Key that clients sign contexts with. Every client may send a context, so without a key
        the arm is the server's.

    Raises:
      RequestLineError: The line has a payment, but is malformed or not signed.
    """
    context = line.get("context")
    if not isinstance(context, Mapping) or "payment" not in context:
        return []
    if key is not None and not is_signed(key, str(line.get("request_id", "")), context):
        raise RequestLineError("context: it is not signed with the clients' key")
    try:
        found = _Line.model_validate(line)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise RequestLineError(f"{where}: {problem['msg']}") from None
    arm = found.label if key is None or found.context.arm is None else found.context.arm
    return [
        {
            **found.context.payment.model_dump(),
            "arm": arm,
            "version": found.version,
            "probability": found.scores[0],
        }
    ]
