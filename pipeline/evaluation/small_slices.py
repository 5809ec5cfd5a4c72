"""A fault of TFMA's, worked around: slices too small for intervals, with a query_key in use.

TFMA evaluates metrics with and without query_key apart and joins what they found. Both add an error
under the same key to a slice that has too few rows for confidence intervals, and the join refuses
what is there twice: one slice of a dozen rows fails the whole Evaluator (TFMA 0.47 and 0.52, tested
by tests/pipeline/evaluation). One of the two texts is enough.
"""

from __future__ import annotations

from typing import Any

from tensorflow_model_analysis import constants
from tensorflow_model_analysis.evaluators import evaluator
from tensorflow_model_analysis.metrics import metric_types

_ERROR = metric_types.MetricKey(constants.ERROR_METRIC_NAME)
_Join = evaluator._CombineEvaluationDictionariesFn
_merge = _Join._merge


def _merge_with_errors(self: Any, accumulator: dict[Any, Any], found: dict[Any, Any]) -> None:
    if _ERROR in accumulator:
        found = {key: value for key, value in found.items() if key != _ERROR}
    _merge(self, accumulator, found)


def allow_small_slices() -> None:
    """Called where a metric with a query_key is defined, so in every process that computes one."""
    _Join._merge = _merge_with_errors
