"""Limits the features that TFMA keeps of each example to those of slices and groups.

By default TFMA makes a Python object of every feature, copies it for the intervals and gathers it
by group, although metrics read none of them.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.extractors import extractor, unbatch_extractor
from tensorflow_model_analysis.proto import config_pb2

_NOT_READ = (constants.INPUT_KEY, constants.ARROW_RECORD_BATCH_KEY)


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[extractor.Extractor]:
    """Returns TFMA's extractors with one more that drops features before batches become rows.

    The Evaluator calls this function of its `module_path`.
    """
    standard = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    stages = [one.stage_name for one in standard]
    place = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    kept = features_read(eval_config)
    trim = extractor.Extractor(stage_name="KeepWhatIsRead", ptransform=_Trim(kept))
    return [*standard[:place], trim, *standard[place:]]


def features_read(eval_config: config_pb2.EvalConfig) -> frozenset[str]:
    """Returns the names of the features that define slices and groups."""
    slices = {
        key
        for spec in eval_config.slicing_specs
        for key in (*spec.feature_keys, *spec.feature_values)
    }
    groups = {spec.query_key for spec in eval_config.metrics_specs if spec.query_key}
    return frozenset(slices | groups)


class _Trim(beam.PTransform[Any, Any]):
    def __init__(self, kept: frozenset[str]):
        super().__init__()
        self.kept = kept

    def expand(self, batches: Any) -> Any:
        return batches | beam.Map(trimmed, self.kept)  # type: ignore[no-untyped-call]


def trimmed(batch: dict[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    result = {key: value for key, value in batch.items() if key not in _NOT_READ}
    found = batch[constants.FEATURES_KEY]
    result[constants.FEATURES_KEY] = {name: found[name] for name in found if name in kept}
    return result
