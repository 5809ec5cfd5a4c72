"""Small tables as a Trainer reads them: raw examples, a schema and a transform graph.

Each table has 15,000 rows of 13 features, 12,000 to learn from and 3,000 to stop the training. It
is judged on many more rows of the same distribution, so that the comparison is not noise.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tabular.feature_set import FEATURES, Categorical, FeatureSet, Numeric, Ordinal

if TYPE_CHECKING:  # importing TFX takes seconds
    from tfx.components.trainer.fn_args_utils import FnArgs

LABEL = "label"
NUMBERS = tuple(f"n{number}" for number in range(8))
ROWS = {"train": 12_000, "eval": 3_000, "test": 20_000}
Table = dict[str, NDArray[Any]]


def additive(chance: np.random.Generator, rows: int) -> tuple[Table, NDArray[np.float64]]:
    """Returns columns, and log-odds that are a sum of smooth functions of one column each."""
    table = _columns(chance, rows, values=(5, 12, 40))
    n = [table[name] for name in NUMBERS]
    odds = 0.8 * n[0] - 0.6 * n[1] + 0.7 * np.sin(2 * n[2]) + 0.4 * n[3] ** 2 - 0.3 * n[4]
    odds += 0.5 * np.cos(2 * np.pi * table["o0"] / 24) + _effects(table, "c0", 0.5)
    odds += _effects(table, "c1", 0.5) + _effects(table, "c2", 0.4)
    return table, odds - 0.9


def interactions(chance: np.random.Generator, rows: int) -> tuple[Table, NDArray[np.float64]]:
    """Returns columns, and log-odds with thresholds and effects of two columns together."""
    table = _columns(chance, rows, values=(5, 12, 40))
    n = [table[name] for name in NUMBERS]
    is_first = _effects(table, "c0", 1.0) > 0
    odds = 1.5 * ((n[0] > 0.3) & (n[1] < 0.5)) - 1.2 * ((n[2] > 0) ^ (n[3] > 0))
    odds = odds + np.where(is_first, 0.8 * n[4], -0.8 * n[4]) + 0.9 * (np.abs(n[5]) > 1)
    odds += 0.7 * ((table["o0"] >= 8) & (table["o0"] < 18) & (table["o1"] < 5))
    return table, 2.5 * (odds + _effects(table, "c1", 0.4) - 0.5)


def categories(chance: np.random.Generator, rows: int) -> tuple[Table, NDArray[np.float64]]:
    """Returns columns, and log-odds that hang on two columns with thousands of skewed values."""
    table = _columns(chance, rows, values=(3000, 800, 40))
    n = [table[name] for name in NUMBERS]
    odds = _effects(table, "c0", 1.0) + _effects(table, "c1", 0.8) + _effects(table, "c2", 0.5)
    return table, odds + 0.5 * n[0] + 0.4 * n[1] * n[2] - 0.5


def steps(chance: np.random.Generator, rows: int) -> tuple[Table, NDArray[np.float64]]:
    """Returns columns, and log-odds that are themselves a sum of 30 random decision trees."""
    table = _columns(chance, rows, values=(5, 12, 40))
    columns = [table[name].astype(np.float64) for name in (*NUMBERS, "o0", "o1")]
    tree = np.random.default_rng(0)
    odds = np.zeros(rows)
    for _ in range(30):
        leaf = np.zeros(rows, np.int64)
        for depth in range(4):
            # Each node has its own column and its own threshold, at a quantile of the column.
            chosen = tree.integers(0, len(columns), 2**depth)
            shares = tree.uniform(0.1, 0.9, 2**depth)
            bits = [
                columns[one] > _quantile(one, share)
                for one, share in zip(chosen, shares, strict=True)
            ]
            leaf = 2 * leaf + np.choose(leaf, bits)
        odds += tree.normal(0, 0.5, 16)[leaf]
    return table, odds


def _quantile(column: int, share: float) -> float:
    """Returns a quantile of a column as `_columns` draws it, the same in all splits."""
    if column >= len(NUMBERS):
        return float(np.floor(share * (24, 7)[column - len(NUMBERS)]))
    normal = NormalDist(sigma=1.118 if column == 1 else 1.0).inv_cdf(share)
    return math.exp(normal) if column == 6 else normal


TABLES: Mapping[str, Callable[..., tuple[Table, NDArray[np.float64]]]] = {
    "additive": additive,
    "interactions": interactions,
    "categories": categories,
    "steps": steps,
}
# As `python -m applications new` declares such columns.
DECLARED = FeatureSet(
    label=LABEL,
    features=(
        *(Categorical(f"c{number}", vocabulary=5000) for number in range(3)),
        *(Numeric(name, buckets=10) for name in NUMBERS),
        Ordinal("o0", size=24),
        Ordinal("o1", size=7),
    ),
)


@dataclasses.dataclass(frozen=True)
class SmallTable:
    """A table in a folder.

    Attributes:
      folder: Folder with Split-SPLIT folders, schema.pbtxt, transform_graph and truth.npy.
    """

    folder: Path

    def files(self, split: str) -> list[str]:
        """Returns the files of a split."""
        return [str(path) for path in sorted((self.folder / f"Split-{split}").iterdir())]

    @property
    def best_log_loss(self) -> float:
        """The log loss of the true probabilities on the judged rows."""
        truth = np.load(self.folder / "truth.npy")
        return float(-(truth * np.log(truth) + (1 - truth) * np.log1p(-truth)).mean())

    def fn_args(self, out: str, parameters: Mapping[str, Any]) -> FnArgs:
        """Returns the arguments of a run_fn that writes below `out`."""
        from tfx.components.trainer.fn_args_utils import FnArgs

        graph = str(self.folder / "transform_graph")
        return FnArgs(
            train_files=[str(self.folder / "Split-train" / "*")],
            eval_files=[str(self.folder / "Split-eval" / "*")],
            transform_output=graph,
            transform_graph_path=graph,
            serving_model_dir=f"{out}/model/1/Format-Serving",
            model_run_dir=f"{out}/model_run/1",
            custom_config={
                FEATURES: DECLARED.to_json(),
                "parameters": dict(parameters),
                "transformed": False,
            },
        )


def write_table(folder: Path, kind: str, seed: int, rows: Mapping[str, int] = ROWS) -> SmallTable:
    """Writes a table of this kind, unless it is there."""
    made = SmallTable(folder)
    if (folder / "truth.npy").exists():
        return made
    chance = np.random.default_rng(seed)
    for split, count in rows.items():
        table, odds = TABLES[kind](chance, count)
        probability = 1 / (1 + np.exp(-odds))
        table[LABEL] = (chance.random(count) < probability).astype(np.int64)
        _write_examples(folder / f"Split-{split}", table)
        if split == "train":
            _write_transform_graph(folder, table)
    np.save(folder / "truth.npy", probability)  # of the last split, which judges
    return made


def _columns(chance: np.random.Generator, rows: int, values: tuple[int, ...]) -> Table:
    """Draws 8 numbers, 3 categories and 2 ordinals; some numbers are correlated or skewed."""
    numbers = chance.normal(size=(8, rows))
    numbers[1] += 0.5 * numbers[0]
    numbers[6] = np.exp(numbers[6])
    table: Table = {n: v.astype(np.float32) for n, v in zip(NUMBERS, numbers, strict=True)}
    for number, count in enumerate(values):
        share = 1 / np.arange(1, count + 1) ** 0.8
        drawn = chance.choice(count, rows, p=share / share.sum())
        table[f"c{number}"] = np.array([f"v{one}" for one in drawn], object)
    table["o0"], table["o1"] = chance.integers(0, 24, rows), chance.integers(0, 7, rows)
    return table


def _effects(table: Table, name: str, deviation: float) -> NDArray[np.float64]:
    """Returns a normal effect of each value of a category, the same in all splits."""
    index = np.array([int(one[1:]) for one in table[name]])
    effects = np.random.default_rng(sum(name.encode())).normal(0, deviation, index.max() + 1)
    return effects[index]


def _write_examples(folder: Path, table: Table) -> None:
    import tensorflow as tf

    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
        for row in zip(*table.values(), strict=True):
            example = tf.train.Example()
            for name, value in zip(table, row, strict=True):
                feature = example.features.feature[name]
                if isinstance(value, str):
                    feature.bytes_list.value.append(value.encode())
                elif isinstance(value, np.floating):
                    feature.float_list.value.append(value)
                else:
                    feature.int64_list.value.append(int(value))
            writer.write(example.SerializeToString())


def _write_transform_graph(folder: Path, table: Table) -> None:
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from google.protobuf import text_format
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from tabular.preprocessing import preprocess

    kinds = {"f": tf.float32, "i": tf.int64, "O": tf.string}
    spec = {n: tf.io.FixedLenFeature([1], kinds[v.dtype.kind]) for n, v in table.items()}
    schema = schema_utils.schema_from_feature_spec(spec)
    graph = folder / "transform_graph"
    columns = zip(*table.values(), strict=True)
    rows = [dict(zip(table, ([value] for value in row), strict=True)) for row in columns]
    with tft_beam.Context(str(folder / "scratch")):
        data = (rows, dataset_metadata.DatasetMetadata(schema))
        function = data | tft_beam.AnalyzeDataset(functools.partial(preprocess, features=DECLARED))
        function | tft_beam.WriteTransformFn(str(graph))
    text = text_format.MessageToString(schema)
    (folder / "schema.pbtxt").write_text(text, "utf-8")
    (graph / "metadata").mkdir(exist_ok=True)
    (graph / "metadata" / "schema.pbtxt").write_text(text, "utf-8")
