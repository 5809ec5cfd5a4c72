"""The parameters that a config may give the CTR application's ETL, and the label it makes."""

from __future__ import annotations

from pydantic import Field

from base.section import Section

LABEL = "clicked"  # `evaluator.label` names it


class EtlParameters(Section):
    """`etl.parameters`: what counts as a click, as a bot, and as a smoothed rate."""

    attribution_minutes: float = Field(
        30, gt=0, description="a click later than this counts for nothing"
    )
    max_position: int = Field(100, ge=1)
    bot_impressions: int = Field(
        100, ge=2, description="a session with more of them within bot_seconds is no person"
    )
    bot_seconds: float = Field(60, gt=0)
    smoothing_prior: float = Field(0.1, ge=0, le=1)
    smoothing_strength: float = Field(20, gt=0)
