"""What TFMA takes along for each example: the features that slices and groups are made of.

By default every feature of an example becomes a Python object of its own, is copied for the
intervals' parts, and is gathered by group; metrics read none of them.
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
    """The Evaluator's `module_path`: TFMA's own, with one more before batches become rows."""
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
    """Features that slices and groups are made of."""
    slices = {
        key
        for spec in eval_config.slicing_specs
        for key in (*spec.feature_keys, *spec.feature_values)
    }
    groups = {spec.query_key for spec in eval_config.metrics_specs if spec.query_key}
    return frozenset(slices | groups)


class _Trim(beam.PTransform):
    def __init__(self, kept: frozenset[str]):
        super().__init__()
        self.kept = kept

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return batches | beam.Map(_trimmed, self.kept)


def _trimmed(batch: dict[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    result = {key: value for key, value in batch.items() if key not in _NOT_READ}
    found = batch[constants.FEATURES_KEY]
    result[constants.FEATURES_KEY] = {name: found[name] for name in found if name in kept}
    return result
