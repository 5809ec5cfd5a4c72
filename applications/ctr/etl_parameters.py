"""The parameters that a config may set in the ETL.

They have their own module, so that a change in how the model is trained does not run the ETL again.
"""

from __future__ import annotations

from pydantic import Field

from base.section import Section


class EtlParameters(Section):
    """`etl.parameters`: the definitions of a click and of a bot."""

    attribution_minutes: float = Field(
        30, gt=0, description="minutes after an impression within which a click counts"
    )
    max_position: int = Field(100, ge=1, description="largest possible position")
    bot_impressions: int = Field(
        100, ge=2, description="impressions of a session within bot_seconds that mark a bot"
    )
    bot_seconds: float = Field(60, gt=0, description="seconds of bot_impressions")
