"""Checks that the schema gives each feature the type and presence that its treatment needs."""

from __future__ import annotations

from collections.abc import Iterator

from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.config import PipelineConfig
from tabular.feature_set import FeatureSet

_NUMBERS = (schema_pb2.INT, schema_pb2.FLOAT)
_NAMES = {schema_pb2.INT: "INT", schema_pb2.FLOAT: "FLOAT", schema_pb2.BYTES: "BYTES"}


def kind_problems(
    schema: schema_pb2.Schema, features: FeatureSet, config: PipelineConfig
) -> Iterator[str]:
    """Yields a line for each feature that Transform or the split could not use.

    Features that the schema lacks are left to pipeline/names.py.
    """
    by_name = {one.name: one for one in schema.feature}
    where = config.schema_file
    for kind, names, allowed in (
        ("Numeric", [one.name for one in features.numeric], _NUMBERS),
        ("Ordinal", [one.name for one in features.ordinal], (schema_pb2.INT,)),
        (
            "Categorical",
            [one.name for one in features.categorical],
            (schema_pb2.BYTES, schema_pb2.INT),
        ),
    ):
        for name in names:
            found = by_name.get(name)
            if found is not None and found.type not in allowed:
                yield (
                    f"{where}: '{name}' is declared {kind}, so its type must be "
                    f"{' or '.join(_NAMES[one] for one in allowed)}. Received: "
                    f"{_NAMES.get(found.type, 'none')}. Change the ETL and the schema, or declare "
                    "it otherwise"
                )
    for name in dict.fromkeys((features.label, *features.single_values)):
        found = by_name.get(name)
        if found is not None and not _is_in_every_example(found):
            yield (
                f"{where}: '{name}' must have one value in every example: fill missing values in "
                "the ETL, and write `presence { min_fraction: 1 min_count: 1 }` and "
                "`shape { dim { size: 1 } }`"
            )
    for name in features.lists:
        found = by_name.get(name)
        if found is not None and found.HasField("shape"):
            yield f"{where}: '{name}' is a list; replace its `shape` by `value_count`"
    yield from _split_problems(by_name, features, config)


def _is_in_every_example(feature: schema_pb2.Feature) -> bool:
    one = [dim.size for dim in feature.shape.dim] == [1]
    return one and feature.presence.min_fraction == 1


def _split_problems(
    by_name: dict[str, schema_pb2.Feature], features: FeatureSet, config: PipelineConfig
) -> Iterator[str]:
    key = config.split.feature
    if key is None or config.split.time is not None:
        return
    if key in by_name and by_name[key].type == schema_pb2.FLOAT:
        yield (
            f"split.feature: expected a text or a whole number. '{key}' is a FLOAT in "
            f"{config.schema_file}"
        )
    if key == features.label:
        yield (
            f"split.feature: '{key}' is the label, so that each split would have other labels; "
            "name a key, or null for the whole record"
        )
