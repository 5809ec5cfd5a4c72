"""Makes a curated schema from statistics and the declared features."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import TYPE_CHECKING

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from base.errors import ComponentError
from tabular.feature_set import FeatureSet

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CLOSED = 100  # values of a vocabulary that can be closed


def curated_schema(
    statistics: statistics_pb2.DatasetFeatureStatistics,
    inferred: schema_pb2.Schema,
    features: FeatureSet,
    close_vocabularies: bool,
) -> schema_pb2.Schema:
    """Returns a schema that says what the ETL promises, not what this data happens to be.

    Each feature that the model takes one value of must be there in every example. Numbers must be
    finite. Texts may have new values, unless vocabularies are closed.

    Args:
      statistics: Statistics of all examples.
      inferred: TFDV's schema of them.
      features: Declared features.
      close_vocabularies: Whether a text with at most 100 values may have no others later.

    Raises:
      ComponentError: The examples lack a declared feature, in all or in some rows.
    """
    present = {_name(one): _common(one) for one in statistics.features}
    _check_complete(present, statistics.num_examples, features)
    by_name = {one.name: one for one in inferred.feature}
    domains = {one.name: one for one in inferred.string_domain}
    single = {features.label, *features.single_values}
    schema = schema_pb2.Schema()
    others = [name for name in by_name if name not in features.columns]
    for name in (*features.columns, *others):
        feature = schema.feature.add(name=name, type=by_name[name].type)
        counts = present[name]
        always = counts.num_missing == 0 and statistics.num_examples > 0
        feature.presence.min_count = 1
        if always and name not in features.lists:
            feature.presence.min_fraction = 1
        if name in single or (always and _is_single(counts) and name not in features.lists):
            feature.shape.dim.add(size=1)
        else:
            most = features.lists[name].length if name in features.lists else counts.max_num_values
            feature.value_count.min = 0
            feature.value_count.max = max(most, counts.max_num_values, 1)
        values = domains.get(by_name[name].domain) if close_vocabularies else None
        _add_domain(schema, feature, features, values)
    return schema


def _add_domain(
    schema: schema_pb2.Schema,
    feature: schema_pb2.Feature,
    features: FeatureSet,
    values: schema_pb2.StringDomain | None,
) -> None:
    """Adds what the values of a feature must be; `values` closes its vocabulary."""
    sizes = {one.name: one.size for one in features.ordinal}
    if feature.name == features.label and features.class_count:
        if feature.type == schema_pb2.INT:
            feature.int_domain.min, feature.int_domain.max = 0, features.class_count - 1
    elif feature.type == schema_pb2.INT and feature.name in sizes:
        feature.int_domain.min, feature.int_domain.max = 0, sizes[feature.name] - 1
    if feature.type == schema_pb2.FLOAT:
        feature.float_domain.disallow_nan = True
        feature.float_domain.disallow_inf = True
    categories = {one.name for one in features.categorical}
    if values is not None and feature.name in categories:
        feature.domain = feature.name
        schema.string_domain.add(name=feature.name, value=sorted(values.value))


def _check_complete(
    present: Mapping[str, statistics_pb2.CommonStatistics], rows: int, features: FeatureSet
) -> None:
    absent = [name for name in features.columns if name not in present]
    if absent:
        raise ComponentError(
            f"the ETL returns no column {', '.join(absent)}, which the application's features "
            "declare. Compute it in the ETL, or remove it from the features. The ETL returns: "
            f"{', '.join(sorted(present))}"
        )
    gaps = [
        f"{name} in {present[name].num_missing:,}"
        for name in (features.label, *features.single_values)
        if present[name].num_missing
    ]
    if gaps:
        raise ComponentError(
            f"of {rows:,} examples some have no value: {', '.join(gaps)}. Fill missing values in "
            "the ETL, or quarantine such rows"
        )


def _name(one: statistics_pb2.FeatureNameStatistics) -> str:
    return one.path.step[0] if one.path.step else one.name


def _common(one: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    kind = one.WhichOneof("stats")
    found: statistics_pb2.CommonStatistics = getattr(one, kind).common_stats
    return found


def _is_single(counts: statistics_pb2.CommonStatistics) -> bool:
    return counts.min_num_values == 1 and counts.max_num_values == 1


def schema_text(schema: schema_pb2.Schema, features: FeatureSet, head: Sequence[str]) -> str:
    """Returns a schema in protobuf's text format, in groups with comments."""
    groups = {
        "Keys, carried along.": features.keys,
        "The label.": (features.label,),
        "The weight of an example.": (features.weight,) if features.weight else (),
        "What the model learns from.": features.single_values,
        "Lists.": tuple(features.lists),
    }
    by_name = {one.name: one for one in schema.feature}
    rest = [name for name in by_name if name not in features.columns]
    lines = [f"# {line}".rstrip() for line in head]
    for title, names in {**groups, "Not declared as features.": tuple(rest)}.items():
        if names:
            lines += ["", f"# {title}"]
            lines += [_block("feature", by_name[name]) for name in names]
    for domain in schema.string_domain:
        lines += ["", _block("string_domain", domain)]
    return "\n".join(lines) + "\n"


def _block(kind: str, message: schema_pb2.Feature | schema_pb2.StringDomain) -> str:
    """Returns a message as a block, with a line for each of its fields."""
    lines = [f"{kind} {{"]
    for field, value in message.ListFields():
        part = type(message)()
        if isinstance(value, MutableSequence):
            getattr(part, field.name).extend(value)
            lines += [f"  {line}" for line in text_format.MessageToString(part).splitlines()]
        elif field.message_type is not None:
            getattr(part, field.name).CopyFrom(value)
            lines.append(f"  {text_format.MessageToString(part, as_one_line=True).strip()}")
        else:
            setattr(part, field.name, value)
            lines.append(f"  {text_format.MessageToString(part).strip()}")
    return "\n".join([*lines, "}"])
