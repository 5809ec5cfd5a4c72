"""The keys of the section `streaming` about served predictions: what became of them, and the rules.

`ONLINE_METRICS` has the metrics of each task. Their functions are in streaming/online_evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from base.section import Section
from tabular.metrics.metric_names import HIGHER, LOWER, NEITHER

# Task -> metric -> which values are better.
ONLINE_METRICS: Mapping[str, Mapping[str, str]] = {
    "binary": {
        "mean_label": NEITHER,
        "auc": HIGHER,
        "log_loss": LOWER,
        "calibration": NEITHER,
        "normalized_entropy": LOWER,
    },
    "multiclass": {"accuracy": HIGHER, "log_loss": LOWER, "normalized_entropy": LOWER},
    "regression": {
        "mean_label": NEITHER,
        "rmse": LOWER,
        "mae": LOWER,
        "bias": NEITHER,
        "normalized_rmse": LOWER,
    },
}
_DEFAULT_BOUNDS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "binary": {
        "calibration": {"min": 0.7, "max": 1.4},
        "normalized_entropy": {"max": 1, "max_worse_percent": 5},
    },
    "multiclass": {"normalized_entropy": {"max": 1, "max_worse_percent": 5}},
    "regression": {"normalized_rmse": {"max": 1, "max_worse_percent": 5}},
}
# Columns of a served event, besides the model's output, as `events_of_request` names them.
ARM, VERSION = "arm", "version"


class Served(Section):
    """The columns of a closed hour that tell which version predicted an event, and its outcome."""

    stream: str | None = Field(
        None, description="stream of the served events; by default the first stream"
    )
    group: str | None = Field(
        description="column of that stream whose value similar events share, such as a customer's "
        "id: intervals resample groups; null if all events are independent"
    )
    outcome: str | None = Field(
        None,
        description="stream of outcomes: the label is 1 if an outcome followed the event, else 0; "
        "by default the first stream of outcomes, for binary models without `label`",
    )
    label: str | None = Field(
        None,
        description="column of the events with the label, null where it is not known; with "
        "`outcome` a column of the first outcome, and only events with an outcome are judged",
    )
    key: str | None = Field(
        None,
        description="in place of outcome: column that identifies an event, and key of the examples "
        "by the same name: the label is that of the ETL's row; an event without a row has none",
    )
    later: str | None = Field(
        None,
        description="another stream of outcomes, which come later: when they are complete, all "
        "events are measured by whether one followed. The rule does not wait for it, nor read it",
    )

    @model_validator(mode="after")
    def _one_label(self) -> Served:
        if self.key is not None and (self.outcome is not None or self.label is not None):
            raise ValueError("`key` stands in place of outcome and label; name only one of them")
        if self.later is not None and self.later == self.outcome:
            raise ValueError("later: expected another stream than `outcome`")
        return self

    @property
    def at_last(self) -> Served | None:
        """The same events, by the outcomes of `later`; None without them."""
        if self.later is None:
            return None
        return Served(stream=self.stream, group=self.group, outcome=self.later)


class OnlineBound(Section):
    """The limits of a metric of a served version."""

    min: float | None = Field(None, description="smallest value")
    max: float | None = Field(None, description="largest value")
    max_worse: float | None = Field(
        None, ge=0, description="how much worse it may be than that of the version before"
    )
    max_worse_percent: float | None = Field(
        None, ge=0, description="the same as a percentage of that version's value"
    )

    @model_validator(mode="after")
    def _says_something(self) -> OnlineBound:
        if not self.model_fields_set:
            raise ValueError("give min, max, max_worse or max_worse_percent, or null for no bound")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max. Received: {self.min} and {self.max}")
        return self

    @property
    def is_empty(self) -> bool:
        return all(value is None for _, value in self)

    @property
    def against_another(self) -> bool:
        return self.max_worse is not None or self.max_worse_percent is not None


class OnlineRule(Section):
    """When a version is rolled back, or a canary promoted; see streaming/online_evaluation."""

    REPLACED: ClassVar[dict[str, str]] = {
        "calibration": "thresholds: {{calibration: {{min: LOW, max: HIGH}}}}",
        "max_log_loss_increase": "thresholds: {{normalized_entropy: {{max_worse_percent: "
        "PERCENT}}}}, which is 100 times {value}",
    }

    hours: int = Field(24, ge=1, description="newest closed hours that are looked at")
    min_events: int = Field(
        1000, ge=1, description="with fewer labelled events of a version nothing is decided"
    )
    max_unlabelled_fraction: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="largest share of a version's events whose label is not known yet; above it "
        "nothing is decided",
    )
    thresholds: dict[str, OnlineBound | None] = Field(
        default_factory=dict,
        description="metric -> its bounds; null for none. Defaults: of a binary model calibration "
        "{min: 0.7, max: 1.4} and normalized_entropy {max: 1, max_worse_percent: 5}, of a "
        "multiclass model the latter, of a regression normalized_rmse with the same bounds. Other "
        "metrics: mean_label, auc and log_loss; accuracy and log_loss; mean_label, rmse, mae, bias",
    )
    patience_hours: int = Field(
        6, ge=1, description="hours after which a canary is judged even where values are uncertain"
    )

    def bounds(self, task: str) -> dict[str, OnlineBound]:
        """Returns metric -> its bounds: the given ones, and the task's defaults where none are."""
        defaults = _DEFAULT_BOUNDS.get(task, {})
        found = {}
        for metric in dict.fromkeys([*defaults, *self.thresholds]):
            given = self.thresholds.get(metric)
            if given is None and metric in self.thresholds:
                continue
            said = {} if given is None else given.model_dump(exclude_unset=True)
            bound = OnlineBound(**{**defaults.get(metric, {}), **said})
            if not bound.is_empty:
                found[metric] = bound
        return found


class DriftRule(Section):
    """When a feature has drifted; see streaming/online_evaluation."""

    max_distance: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Jensen-Shannon divergence, for features without comparators in the schema",
    )
    leave_out: tuple[str, ...] = Field(
        (), description="features that are not compared, such as keys and times"
    )
    most_examples: int = Field(
        20_000, ge=100, description="served examples of an hour that are compared, at random"
    )
