"""The section `evaluator` of a config: what is measured, and what a model must reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from pipeline.evaluation.metric_names import (
    GROUPED_AUC,
    NEITHER,
    REGRESSION,
    MetricName,
    metric_name,
)
from pipeline.section import Section

_DEFAULT_METRICS = ("auc", "log_loss", "calibration", "ece")


class Bound(Section):
    """What a metric must reach, on all examples or on one slice."""

    slice: dict[str, str | int] = Field(
        default_factory=dict, description="feature -> value; left out: all examples"
    )
    min: float | None = None
    max: float | None = None
    max_worse: float | None = Field(
        None, ge=0, description="how much worse than the baseline's it may be: 0.005"
    )
    max_worse_percent: float | None = Field(
        None, ge=0, description="likewise, as a percentage of the baseline's: 1"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Bound:
        given = (self.min, self.max, self.max_worse, self.max_worse_percent)
        if all(one is None for one in given):
            raise ValueError("give min, max, max_worse or max_worse_percent")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max. Received: {self.min} and {self.max}")
        return self

    @property
    def against_baseline(self) -> bool:
        return self.max_worse is not None or self.max_worse_percent is not None


_DEFAULT_BOUNDS: Mapping[str, tuple[Bound, ...]] = {
    "auc": (Bound(min=0.5, max_worse=0.005),),
    "calibration": (Bound(min=0.8, max=1.25),),
}


class Evaluator(Section):
    """What is measured on the judged split, and what a model must reach to be blessed."""

    REPLACED: ClassVar[dict[str, str]] = {
        "min_auc": "thresholds: {{auc: {{min: {value}}}}}",
        "max_auc_loss": "thresholds: {{auc: {{max_worse: {value}}}}}",
        "calibration": "thresholds: {{calibration: {{min: LOW, max: HIGH}}}}",
    }

    label: str
    prediction: str
    weight: str | None = Field(None, description="raw feature: how much an example counts")
    slices: list[list[str]] = Field(default_factory=list, description="raw features to slice by")
    group: str | None = Field(
        None, description="raw feature, such as user_id: adds the AUC within its groups"
    )
    metrics: tuple[str, ...] = Field(
        _DEFAULT_METRICS,
        min_length=1,
        description="auc, auc_pr, log_loss, calibration, ece, {precision_at: K}, {recall_at: K}, "
        "{precision: SCORE}, {recall: SCORE}, {accuracy: SCORE}; of regression mse, mae, rmse, r2",
    )
    thresholds: dict[str, tuple[Bound, ...]] = Field(
        default_factory=dict,
        description="metric -> a bound, or a list of them; null: none. A metric that is left out "
        "has its default: auc {min: 0.5, max_worse: 0.005}, calibration {min: 0.8, max: 1.25}",
    )
    min_positives: int = Field(
        100,
        ge=1,
        description="with fewer positive examples in the judged split no model is blessed "
        "(Vergouwe et al. 2005: at least 100 events to validate a model)",
    )
    max_feature_auc: float | None = Field(
        None,
        gt=0.5,
        le=1,
        description="no model is blessed if one feature alone has a higher AUC: it tells the "
        "label. Without it such a feature is only reported, from 0.98 on",
    )
    confidence_intervals: bool = Field(True, description="95 %, for every metric")

    @field_validator("metrics", mode="before")
    @classmethod
    def _named(cls, entries: Any) -> Any:
        if not isinstance(entries, list | tuple):
            raise ValueError("expected a list of metrics")
        names = [_name(entry) for entry in entries]
        if len({name.task for name in names}) > 1:
            raise ValueError(
                "expected metrics of classification or of regression. Received both: "
                f"{', '.join(map(str, names))}"
            )
        if any(name.kind == GROUPED_AUC for name in names):
            raise ValueError(f"{GROUPED_AUC} is there as soon as `group` names a feature")
        return tuple(dict.fromkeys(map(str, names)))

    @field_validator("thresholds", mode="before")
    @classmethod
    def _bounds(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("expected metrics with their bounds, such as auc: {min: 0.6}")
        listed = {}
        for key, bounds in given.items():
            bounds = () if bounds is None else bounds
            name = str(_name(key))
            listed[name] = tuple(bounds) if isinstance(bounds, list | tuple) else (bounds,)
        return listed

    @model_validator(mode="after")
    def _usable(self) -> Evaluator:
        for name in self.judged:
            if name.task != self.task:
                raise ValueError(
                    f"thresholds: {name} is a metric of {name.task}, and `metrics` are of "
                    f"{self.task}"
                )
            if name.kind == GROUPED_AUC and not self.group:
                raise ValueError(f"thresholds: {GROUPED_AUC} needs `group`")
            relative = any(bound.against_baseline for bound in self.bounds(name))
            if relative and name.better == NEITHER:
                raise ValueError(
                    f"thresholds: {name} is best at 1, so neither higher nor lower is worse; use "
                    "min and max"
                )
            if name.kind == "r2" and any(b.max_worse_percent for b in self.bounds(name)):
                raise ValueError(
                    "thresholds: r2 may be negative, of which a percentage means nothing; use "
                    "max_worse"
                )
        if self.task == REGRESSION and not self.judged:
            raise ValueError(
                "thresholds: a regression needs at least one, such as rmse: {max: 10}; without "
                "any, no model would be pushed"
            )
        return self

    @property
    def task(self) -> str:
        """CLASSIFICATION or REGRESSION."""
        return metric_name(self.metrics[0]).task

    @property
    def measured(self) -> tuple[MetricName, ...]:
        """What is computed: the metrics that are named, and those that are judged."""
        named = [metric_name(name) for name in self.metrics]
        others = [name for name in self.judged if name.kind != GROUPED_AUC]
        return tuple(dict.fromkeys([*named, *others]))

    @property
    def judged(self) -> tuple[MetricName, ...]:
        """The metrics that have bounds."""
        default = [name for name in _DEFAULT_BOUNDS if name in self.metrics]
        names = map(metric_name, dict.fromkeys([*default, *self.thresholds]))
        return tuple(name for name in names if self.bounds(name))

    def bounds(self, name: MetricName) -> tuple[Bound, ...]:
        """What that metric must reach."""
        default = _DEFAULT_BOUNDS.get(str(name), ())
        return self.thresholds.get(str(name), default)


def _name(entry: Any) -> MetricName:
    if not isinstance(entry, str | dict):
        raise ValueError(f"expected a metric's name, or one key with a number. Received: {entry}")
    return metric_name(entry)
