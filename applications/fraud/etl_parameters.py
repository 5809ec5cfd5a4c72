"""The parameters that a config may set in the ETL.

They have their own module, so that a change in how the model is trained does not run the ETL again.
"""

from __future__ import annotations

from pydantic import Field

from base.section import Section


class EtlParameters(Section):
    """`etl.parameters`: what is possible, and from when on a past is long enough."""

    largest_amount: float = Field(
        1_000_000, gt=0, description="largest possible amount of a payment"
    )
    warm_up_days: float = Field(
        0,
        ge=0,
        description="days at the start of the window whose payments are only the past of later "
        "ones; without hourly tables, theirs is cut off",
    )
