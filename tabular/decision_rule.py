"""`trainer.decision`: how the threshold is chosen above which people review an example.

Reading a config checks this section, so this module imports neither Spark nor TensorFlow.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from base.section import Section


class Costs(Section):
    """The costs of a decision, in one unit of money."""

    review: float = Field(gt=0, allow_inf_nan=False, description="cost of one review")
    missed: float = Field(
        gt=0, allow_inf_nan=False, description="cost of one positive that is not reviewed"
    )


class DecisionRule(Section):
    """How the threshold of a binary model is chosen on the split eval."""

    budget: float | None = Field(
        None, gt=0, lt=1, description="largest share of the examples that may be reviewed"
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="smallest probability that is reviewed, in place of a budget"
    )
    costs: Costs | None = Field(
        None,
        description="{review, missed}: cost of one review, and of one positive that is not "
        "reviewed; without a budget and a threshold they choose the threshold",
    )

    @model_validator(mode="after")
    def _says_one_thing(self) -> DecisionRule:
        if self.budget is not None and self.threshold is not None:
            raise ValueError(
                "budget and threshold exclude each other: the budget chooses a threshold. "
                f"Received: budget {self.budget:g} and threshold {self.threshold:g}"
            )
        if self.chosen_by == "costs":
            if self.costs is None:
                raise ValueError(
                    "expected a budget, a threshold or costs, such as {budget: 0.005} or {costs: "
                    "{review: 3, missed: 120}}"
                )
            if self.costs.review >= self.costs.missed:
                raise ValueError(
                    "costs: a review must cost less than a missed positive, or none ever pays. "
                    f"Received: review {self.costs.review:g} and missed {self.costs.missed:g}"
                )
        return self

    @property
    def chosen_by(self) -> Literal["budget", "threshold", "costs"]:
        """The key that decides the threshold."""
        if self.budget is not None:
            return "budget"
        return "costs" if self.threshold is None else "threshold"
