"""The section `evaluator` of a config: the metrics, and the bounds that a model must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import (
    Field,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from base.model_outputs import DECISION
from base.section import Section
from tabular.decision_rule import DecisionRule
from tabular.feature_set import PREDICTIONS, TaskName
from tabular.metrics.metric_names import (
    DECISION_COST,
    GROUPED_AUC,
    NEITHER,
    MetricName,
    metric_name,
)

_DEFAULT_METRICS: Mapping[TaskName, tuple[str, ...]] = {
    "binary": ("auc", "log_loss", "calibration", "ece"),
    "multiclass": ("log_loss", "accuracy", "macro_auc"),
    "regression": ("rmse", "mae", "r2"),
}


def _defaults(task: TaskName) -> str:
    return ", ".join(_DEFAULT_METRICS[task])


class Bound(Section):
    """The limits of a metric, on all examples or on one slice."""

    slice: dict[str, StrictStr | StrictInt] = Field(
        default_factory=dict, description="feature -> value; without it all examples"
    )
    min: float | None = Field(None, description="smallest value of the metric")
    max: float | None = Field(None, description="largest value of the metric")
    max_worse: float | None = Field(
        None, ge=0, description="how much worse than the baseline's it may be, such as 0.005"
    )
    max_worse_percent: float | None = Field(
        None, ge=0, description="the same as a percentage of the baseline's, such as 1"
    )

    @field_validator("slice")
    @classmethod
    def _own_value(cls, values: dict[str, str | int]) -> dict[str, str | int]:
        for name, value in values.items():
            read = _as_tfma_reads(str(value))
            if read != str(value):
                raise ValueError(
                    f"{name}: TFMA takes '{value}' for the number {read}, and would judge that "
                    "slice as well; there can be no bound on this value"
                )
        return values

    @model_validator(mode="after")
    def _says_something(self) -> Bound:
        if not self.model_fields_set - {"slice"}:
            raise ValueError("give min, max, max_worse or max_worse_percent")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max. Received: {self.min} and {self.max}")
        return self

    @property
    def is_absolute(self) -> bool:
        return self.min is not None or self.max is not None

    @property
    def against_baseline(self) -> bool:
        return self.max_worse is not None or self.max_worse_percent is not None


_DEFAULT_BOUNDS: Mapping[TaskName, Mapping[str, Mapping[str, float]]] = {
    "binary": {
        "auc": {"min": 0.5, "max_worse": 0.005},
        "calibration": {"min": 0.8, "max": 1.25},
    },
    "multiclass": {"macro_auc": {"min": 0.5, "max_worse": 0.005}},
    "regression": {},
}


class Evaluator(Section):
    """The metrics of the judged split, and their limits for a model to be blessed."""

    REPLACED: ClassVar[dict[str, str]] = {
        "min_auc": "thresholds: {{auc: {{min: {value}}}}}",
        "max_auc_loss": "thresholds: {{auc: {{max_worse: {value}}}}}",
        "calibration": "thresholds: {{calibration: {{min: LOW, max: HIGH}}}}",
    }

    label: str = Field(description="raw feature that the model learns")
    prediction: str = Field(description="output of the served model with its score")
    weight: str | None = Field(
        None,
        description="raw feature with the weight of an example; the FeatureSet's, if it has one",
    )
    slices: list[list[str]] = Field(
        default_factory=list, description="lists of raw features; each list is one way to slice"
    )
    group: str | None = Field(
        None, description="raw feature whose values are groups: adds the AUC within each"
    )
    metrics: tuple[str, ...] = Field(
        (),
        validate_default=True,
        description="metrics to compute: auc, auc_pr, log_loss, calibration, ece, "
        "{calibration_at: K}, with trainer.decision decision_precision, decision_recall, "
        "decision_share and decision_cost, "
        "{precision_at: K}, {recall_at: K}, {precision: SCORE}, {recall: SCORE}, "
        "{accuracy: SCORE}; of several classes log_loss, accuracy, {top_k_accuracy: K}, macro_auc, "
        "{auc_of: CLASS}; of a regression mse, mae, rmse, r2; of lists {ndcg: {group: FEATURE, at: "
        f"K}}}}, {{map: {{group: FEATURE, at: K}}}}. Defaults: {_defaults('binary')}; of several "
        f"classes {_defaults('multiclass')}; of a regression {_defaults('regression')}",
    )
    thresholds: dict[str, tuple[Bound, ...]] = Field(
        default_factory=dict,
        description="metric -> a bound on all examples, or a list of bounds, some of them on a "
        "slice; null for none. Defaults: auc {min: 0.5, max_worse: 0.005}, "
        "calibration {min: 0.8, max: 1.25}; of several classes macro_auc {min: 0.5, "
        "max_worse: 0.005}",
    )
    min_positives: int = Field(
        100,
        ge=1,
        description="with fewer positive or fewer negative examples, or fewer of one of several "
        "classes, of all or of a slice that has a bound, no model is blessed (Vergouwe et al. "
        "2005: at least 100 of each to validate one)",
    )
    min_examples: int = Field(
        100, ge=1, description="with fewer examples no model of a regression is blessed"
    )
    max_feature_auc: float | None = Field(
        None,
        gt=0.5,
        le=1,
        description="no model is blessed if one feature alone has a higher AUC: it tells the "
        "label. Without it such a feature is only reported, from 0.98 on",
    )
    confidence_intervals: bool = Field(
        True, description="whether every metric has an interval of 95 %"
    )

    @field_validator("prediction")
    @classmethod
    def _is_a_score(cls, name: str) -> str:
        if name == DECISION:
            raise ValueError(
                f"'{DECISION}' is the output that trainer.decision adds beside a score. Give the "
                "model's score another name"
            )
        return name

    @field_validator("metrics", mode="before")
    @classmethod
    def _named(cls, entries: Any, info: ValidationInfo) -> Any:
        if entries == ():
            return _DEFAULT_METRICS[_TASK_OF.get(info.data.get("prediction"), "binary")]
        if not isinstance(entries, list | tuple) or not entries:
            raise ValueError("expected a list of metrics")
        names = [_name(entry) for entry in entries]
        if not _common(names):
            raise ValueError(
                "expected metrics of one task. Received: "
                f"{', '.join(f'{name} ({_either(name.tasks)})' for name in names)}"
            )
        if any(name.kind == GROUPED_AUC for name in names):
            raise ValueError(f"{GROUPED_AUC} is there as soon as `group` names a feature")
        return tuple(dict.fromkeys(map(str, names)))

    @field_validator("thresholds", mode="before")
    @classmethod
    def _bounds(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("expected metrics with their bounds, such as auc: {min: 0.6}")
        listed: dict[str, tuple[Any, ...]] = {}
        for key, bounds in given.items():
            name = str(_name(key))
            if name in listed:
                raise ValueError(f"{name} is there twice, also as {key}")
            if isinstance(bounds, dict) and "slice" in bounds:
                # A mapping is merged with that of the file that this one extends.
                raise ValueError(
                    f"{name}: a bound on a slice belongs into a list, beside those on all "
                    f"examples: [{{min: 0.6}}, {{slice: {{device: phone}}, min: 0.5}}]"
                )
            bounds = () if bounds is None else bounds
            listed[name] = tuple(bounds) if isinstance(bounds, list | tuple) else (bounds,)
        return listed

    @model_validator(mode="after")
    def _usable(self) -> Evaluator:
        for name in self.judged:
            for bound in self.bounds(name):
                self._check_bound(name, bound)
        if self.task != "binary" and self.group:
            raise ValueError("group: an AUC within groups is a metric of a binary task")
        if self.task == "regression":
            self._check_regression()
        elif "min_examples" in self.model_fields_set:
            raise ValueError(f"min_examples: of a {self.task} task use min_positives")
        return self

    def _check_bound(self, name: MetricName, bound: Bound) -> None:
        if self.task not in name.tasks:
            raise ValueError(
                f"thresholds: {name} is a metric of a {_either(name.tasks)} task, and `metrics` "
                f"are of a {self.task} task"
            )
        if name.kind == GROUPED_AUC and not self.group:
            raise ValueError(f"thresholds: {GROUPED_AUC} needs `group`")
        if name.is_grouped and bound.slice:
            raise ValueError(
                f"thresholds: {name} has bounds on all examples only: a group is in each "
                "slice with all of its examples"
            )
        if bound.against_baseline and name.better == NEITHER:
            best = "has no best value" if name.is_of_decision else "is best at 1"
            raise ValueError(
                f"thresholds: {name} {best}, so neither higher nor lower is worse; use min and max"
            )
        if bound.max_worse_percent is not None and name.kind == "r2":
            raise ValueError(
                "thresholds: r2 may be negative, of which a percentage means nothing; use max_worse"
            )

    def _check_regression(self) -> None:
        if "min_positives" in self.model_fields_set:
            raise ValueError("min_positives: a regression has none; use min_examples")
        if not any(bound.is_absolute for name in self.judged for bound in self.bounds(name)):
            raise ValueError(
                "thresholds: a regression needs at least one min or max, such as rmse: {max: 10}; "
                "without any, nothing would judge the first model"
            )

    def with_decision(self, rule: DecisionRule) -> Evaluator:
        """Returns the section with the metrics of a decision, unless it names its own metrics."""
        if "metrics" in self.model_fields_set or self.task != "binary":
            return self
        added = ["decision_precision", "decision_recall", "decision_share"]
        added += [DECISION_COST] if rule.costs else []
        return self.model_copy(update={"metrics": (*self.metrics, *added)})

    @property
    def task(self) -> TaskName:
        """The task of the metrics; if several tasks have them, that of the prediction's name."""
        found = _common([metric_name(name) for name in self.metrics])
        named = _TASK_OF.get(self.prediction)
        return named if named in found else found[0]

    @property
    def measured(self) -> tuple[MetricName, ...]:
        """Metrics to compute over examples, which are the named and the judged ones."""
        return tuple(name for name in self._every_metric() if not name.is_grouped)

    @property
    def grouped(self) -> dict[str, tuple[MetricName, ...]]:
        """Feature that defines groups -> metrics to compute over its groups."""
        found: dict[str, list[MetricName]] = {}
        if self.group:
            found[self.group] = [metric_name(GROUPED_AUC)]
        for name in self._every_metric():
            if name.is_grouped and name.of is not None:
                found.setdefault(name.of, []).append(name)
        return {group: tuple(names) for group, names in found.items()}

    def _every_metric(self) -> list[MetricName]:
        return [*dict.fromkeys([*(metric_name(name) for name in self.metrics), *self.judged])]

    @property
    def judged(self) -> tuple[MetricName, ...]:
        """Metrics with bounds."""
        names = map(metric_name, dict.fromkeys([*_DEFAULT_BOUNDS[self.task], *self.thresholds]))
        return tuple(name for name in names if self.bounds(name))

    def bounds(self, name: MetricName) -> tuple[Bound, ...]:
        """Returns the given bounds of a metric, and its default bounds where none are given."""
        key = str(name)
        given = self.thresholds.get(key, ())
        if key in self.thresholds and not given:  # null
            return ()
        said = {field for bound in given if not bound.slice for field in bound.model_fields_set}
        default = _DEFAULT_BOUNDS[self.task].get(key, {})
        rest = {field: value for field, value in default.items() if field not in said}
        return (*given, *([Bound(**rest)] if rest else []))


_TASK_OF: Mapping[str | None, TaskName] = {name: task for task, name in PREDICTIONS.items()}


def _common(names: Sequence[MetricName]) -> list[TaskName]:
    """Returns the tasks that all metrics belong to."""
    return [task for task in PREDICTIONS if all(task in name.tasks for name in names)]


def _either(tasks: Sequence[TaskName]) -> str:
    return " or ".join(tasks)


def _as_tfma_reads(text: str) -> str:
    """Returns a slice's value as TFMA reads it, as a number if it looks like one."""
    for kind in (int, float):
        try:
            return str(kind(text))
        except ValueError:
            continue
    return text


def _name(entry: Any) -> MetricName:
    if not isinstance(entry, str | dict):
        raise ValueError(f"expected a metric's name, or one key with a number. Received: {entry}")
    return metric_name(entry)
