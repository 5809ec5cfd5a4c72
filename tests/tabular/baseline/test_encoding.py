"""Raw examples become numbers and codes, and nothing that must not be learned is among them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tabular.baseline.encoding import Encoding, GrowingCodes
from tabular.baseline.rows import Batch, RawExamples, Sample
from tabular.errors import TrainingError
from tabular.feature_set import (
    Bands,
    Categorical,
    Cross,
    FeatureSet,
    Numeric,
    Ordinal,
    Recency,
    Sequence,
)
from tests.tabular.baseline.raw_examples import schema_of, write_examples

pytestmark = pytest.mark.unit
NAN = math.nan
FEATURES = FeatureSet(
    label="sold",
    weight="cost",
    keys=("id",),
    features=(
        Categorical("shop", vocabulary=1000),
        Categorical("code", hash_buckets=50),
        Numeric("price", log=True),
        Ordinal("day", size=7),
        Cross(("shop", "colour"), hash_buckets=10),
        Cross(("shop", Bands("size_band", of="size", boundaries=(1.0, 2.0))), hash_buckets=10),
    ),
)
ROW: dict[str, Any] = {
    "id": 1, "sold": 1, "cost": 2.0, "shop": b"a", "code": 7, "price": 3.5, "day": 2,
    "colour": b"red", "size": 1.5,
}  # fmt: skip


def rows(*changes: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [{**ROW, **change}[name] for change in changes] for name in ROW}


def read(folder: Path, features: FeatureSet, columns: dict[str, list[Any]]) -> Batch:
    """The rows, read from a file; the schema has every column, whatever is missing here."""
    schema = schema_of({name: [*values, *[ROW.get(name)]] for name, values in columns.items()})
    weights = (features.weight,) if features.weight else ()
    file = write_examples(folder / "rows.gz", columns)
    (batch,) = RawExamples(features, schema, weights).batches([file], "train")
    return batch


def learned(folder: Path, columns: dict[str, list[Any]]) -> tuple[np.ndarray, Encoding]:
    batch = read(folder, FEATURES, columns)
    codes = GrowingCodes(RawExamples(FEATURES, schema_of({k: [v] for k, v in ROW.items()})).columns)
    matrix = codes.matrix(batch)
    return matrix, codes.encoding(matrix)


def encoded(folder: Path, encoding: Encoding, change: dict[str, Any]) -> dict[str, float]:
    found = encoding.matrix(read(folder, FEATURES, rows(change)))
    return dict(zip(encoding.columns.names, found[0].tolist(), strict=True))


def test_label_weight_and_keys_are_no_columns(tmp_path: Path) -> None:
    _, encoding = learned(tmp_path, rows({}))
    assert encoding.columns.names == ("price", "day", "size", "shop", "code", "colour")
    assert not {*encoding.columns.names} & {*FEATURES.not_learned}


def test_columns_do_not_depend_on_label_weight_and_keys(tmp_path: Path) -> None:
    plain, _ = learned(tmp_path, rows({}, {"price": 1.0}))
    other = rows({"sold": 0, "id": 9, "cost": 5.0}, {"price": 1.0, "sold": 0, "id": 8})
    assert np.array_equal(plain, learned(tmp_path, other)[0])


def test_a_missing_number_or_category_is_nan(tmp_path: Path) -> None:
    _, encoding = learned(tmp_path, rows({}, {"shop": b"b"}))
    found = encoded(tmp_path, encoding, {"price": None, "shop": None, "code": None})
    assert np.isnan([found["price"], found["shop"], found["code"]]).all()
    assert np.isnan(encoded(tmp_path, encoding, {"price": NAN})["price"])


def test_an_infinite_number_is_the_largest_or_smallest(tmp_path: Path) -> None:
    _, encoding = learned(tmp_path, rows({}))
    assert encoded(tmp_path, encoding, {"price": math.inf})["price"] == 1e300
    assert encoded(tmp_path, encoding, {"price": -math.inf})["price"] == -1e300


def test_frequent_values_have_the_lowest_codes_and_ties_the_order_of_the_values(
    tmp_path: Path,
) -> None:
    shops = [b"z", b"c", b"b", b"z"]
    matrix, encoding = learned(tmp_path, rows(*({"shop": shop} for shop in shops)))
    assert encoding.codes["shop"] == {b"z": 0, b"b": 1, b"c": 2}
    place = encoding.columns.names.index("shop")
    assert matrix[:, place].tolist() == [0, 2, 1, 0]


def test_an_unknown_value_of_a_small_vocabulary_is_missing(tmp_path: Path) -> None:
    _, encoding = learned(tmp_path, rows({}, {"shop": b"b"}))
    assert math.isnan(encoded(tmp_path, encoding, {"shop": b"never seen"})["shop"])


def test_rare_and_unknown_values_of_a_large_vocabulary_share_a_code(tmp_path: Path) -> None:
    shops = [f"s{n:03d}".encode() for n in range(300)]
    twice = [*shops, *shops[:254]]
    matrix, encoding = learned(tmp_path, rows(*({"shop": shop} for shop in twice)))
    place = encoding.columns.names.index("shop")
    assert matrix[254:300, place].tolist() == [254] * 46
    assert matrix[:, place].max() == 254
    assert encoded(tmp_path, encoding, {"shop": b"never seen"})["shop"] == 254
    assert encoded(tmp_path, encoding, {"shop": shops[3]})["shop"] == 3


def test_255_values_need_no_shared_code(tmp_path: Path) -> None:
    shops = [f"s{n:03d}".encode() for n in range(255)]
    _, encoding = learned(tmp_path, rows(*({"shop": shop} for shop in shops)))
    assert sorted(encoding.codes["shop"].values()) == [*range(255)]
    assert math.isnan(encoding.others["shop"])


def test_a_recency_is_that_of_the_network_and_sequences_are_not_read(tmp_path: Path) -> None:
    features = FeatureSet(
        label="sold",
        features=(
            Categorical("shop", vocabulary=10),
            Sequence({"past_shops": "shop"}, length=3, ages="past_hours"),
            Recency("hours_since_shop", "past_shops", longest=100.0, buckets=5),
        ),
    )
    columns: dict[str, list[Any]] = {
        "sold": [1, 0, 1],
        "shop": [b"a", b"b", b"a"],
        "past_shops": [[b"c", b"a", b"a"], [b"a"], [b"c", b"c", b"c", b"a"]],
        "past_hours": [[1.0, 4.0, 9.0], [2.0], [1.0, 1.0, 1.0, 2.0]],
    }
    file = write_examples(tmp_path / "rows.gz", columns)
    examples = RawExamples(features, schema_of(columns))
    (batch,) = examples.batches([file], "train")
    # The fourth event is beyond the length of the sequence.
    assert batch.numbers["hours_since_shop"].tolist() == [4.0, 100.0, 100.0]
    assert examples.columns.not_read == ("past_shops", "past_hours")


@pytest.mark.parametrize("name", ["sold", "cost"])
def test_a_missing_label_or_weight_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrainingError, match=f"number in {name}. Received: 1 of 2 without one"):
        read(tmp_path, FEATURES, rows({}, {name: None}))


def test_a_sample_is_bounded_and_the_same_in_every_run() -> None:
    found = []
    for size in (10, 1000):
        sample = Sample(400)
        for rows_ in np.array_split(np.arange(5000.0)[:, np.newaxis], 5000 // size):
            sample.add(rows_)
        assert sample.seen == 5000
        found.append(sample.rows()[:, 0])
    assert 200 <= len(found[0]) <= 400
    assert np.array_equal(found[0], found[1])
    assert abs(found[0].mean() - 2500) < 300  # from everywhere


def test_a_sample_of_few_rows_has_all_of_them() -> None:
    sample = Sample(10)
    sample.add(np.arange(10.0)[:, np.newaxis])
    assert sample.rows()[:, 0].tolist() == [*range(10)]
