"""`etl.parameters`: what a config may set in the ETL.

In a module of its own: a change of how the model is trained does not run the ETL again.
"""

from __future__ import annotations

from pydantic import Field

from base.section import Section


class EtlParameters(Section):
    """`etl.parameters`: what counts as a click, as a bot, and as a smoothed rate."""

    attribution_minutes: float = Field(
        30, gt=0, description="minutes after an impression; a later click counts for nothing"
    )
    max_position: int = Field(100, ge=1, description="a larger position is impossible")
    bot_impressions: int = Field(
        100, ge=2, description="impressions of a session within bot_seconds that no person makes"
    )
    bot_seconds: float = Field(60, gt=0, description="seconds that bot_impressions go with")
    smoothing_prior: float = Field(
        0.1, ge=0, le=1, description="click rate that an entity without history is given"
    )
    smoothing_strength: float = Field(
        20, gt=0, description="number of impressions that the prior weighs"
    )
