"""The parameters that a config may set in the ETL.

They have their own module, so that a change in how the model is trained does not run the ETL again.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from base.section import Section


class EtlParameters(Section):
    """`etl.parameters`: the definition of a bot, and what is possible."""

    REPLACED: ClassVar[dict[str, str]] = {
        "attribution_minutes": "sources.clicks.outcome.within: {value}m"
    }

    max_position: int = Field(100, ge=1, description="largest possible position")
    bot_impressions: int = Field(
        100, ge=2, description="impressions of a session within bot_seconds that mark a bot"
    )
    bot_seconds: float = Field(60, gt=0, description="seconds of bot_impressions")
