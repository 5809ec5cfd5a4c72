"""Data for the benchmarks of training: a config's pipeline up to Transform, made once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import ROOT
from benchmarks.sample import sample_data
from tabular.feature_set import FEATURES, FeatureSet, transformed

if TYPE_CHECKING:  # importing TFX takes seconds
    from tfx.components.trainer.fn_args_utils import FnArgs

HOURS = 168
# The last twelve hours judge, the twelve before them stop the training: models are trained often.
CUTS = "[-24h, -12h]"
_SPLIT = f"split={{time: {{column: timestamp_ms, at: {CUTS}, unit: ms}}}}"
ITEMS = "{token: item_id, group: user_id, order: timestamp_ms, where: clicked}"
FILMS = "{token: film_id, group: user_id, order: timestamp_ms, where: liked}"
_FEATURES = "features.json"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a Trainer reads, and what a model is scored on.

    Attributes:
      folder: Folder that everything is in.
    """

    folder: Path

    @property
    def features(self) -> FeatureSet:
        """The FeatureSet of the application whose data it is."""
        return FeatureSet.from_json(json.loads((self.folder / _FEATURES).read_text("utf-8")))

    def _newest(self, pattern: str) -> Path:
        found = (self.folder / "root").glob(pattern)  # several, where the code has changed since
        return max(found, key=lambda path: path.stat().st_mtime)

    @property
    def transform_graph(self) -> Path:
        return self._newest("Transform/transform_graph/*")

    @property
    def transformed_examples(self) -> Path:
        return self._newest("Transform/transformed_examples/*")

    def transformed(self, split: str) -> str:
        return str(self.transformed_examples / f"Split-{split}" / "*")

    def fn_args(self, out: str, config: dict[str, Any], base_model: str = "") -> FnArgs:
        """Of a run_fn that writes below `out`; `base_model`: to begin with, if there is one."""
        from tfx.components.trainer.fn_args_utils import FnArgs

        return FnArgs(
            train_files=[self.transformed("train")],
            eval_files=[self.transformed("eval")],
            transform_output=str(self.transform_graph),
            transform_graph_path=str(self.transform_graph),
            serving_model_dir=f"{out}/model/1/Format-Serving",
            model_run_dir=f"{out}/model_run/1",
            base_model=base_model,
            custom_config={FEATURES: self.features.to_json(), **config},
        )

    @property
    def embeddings(self) -> Path:
        return self._newest("SparkEmbeddings/embeddings/*")

    def raw(self, split: str) -> Path:
        return self._newest("SparkExampleGen/examples/*") / f"Split-{split}"

    @property
    def truth(self) -> list[Path]:
        return sorted((self.folder / "data").glob("truth/*.parquet"))


def clicks(folder: Path, impressions: int) -> Prepared:
    """A week of the simulator's log; see CUTS."""
    sample_data("ctr", folder / "data", impressions=impressions, hours=HOURS)
    return prepare(folder, "ctr", [f"spans.window={HOURS}", _SPLIT, f"embeddings={ITEMS}"])


def two_windows(folder: Path, impressions: int) -> tuple[Prepared, Prepared]:
    """Two windows of six days out of a week of the simulator's log, a day apart; see CUTS."""
    sample_data("ctr", folder / "data", impressions=impressions, hours=HOURS)
    day = min((folder / "data" / "impressions").iterdir())
    first = dt.datetime.fromisoformat(f"{day.name}T{min(day.iterdir()).name}:00+00:00")
    hours = int(first.timestamp()) // 3600
    found = []
    for name, last in (("earlier", hours + HOURS - 25), ("later", hours + HOURS - 1)):
        window = folder / name
        window.mkdir(exist_ok=True)
        if not (window / "data").exists():
            (window / "data").symlink_to(folder / "data")
        overrides = [f"spans={{window: {HOURS - 24}, last: {last}}}", _SPLIT]
        found.append(prepare(window, "ctr", overrides))
    return found[0], found[1]


def movielens(folder: Path) -> Prepared:
    """MovieLens 100k, split at random: 8 parts to learn, 1 to stop the training, 1 to judge."""
    sample_data("movielens", folder / "data")
    split = "{feature: rating_id, buckets: {train: 8, eval: 1, test: 1}}"
    return prepare(folder, "movielens", [f"split={split}", f"embeddings={FILMS}"])


def payments(folder: Path, count: int, days: int) -> Prepared:
    """Payments of the simulator; the last 16 days judge, the eight before stop the training."""
    sample_data("fraud", folder / "data", payments=count, days=days)
    return prepare(folder, "fraud", [f"spans.window={days}"])


def prepare(folder: Path, name: str, overrides: Sequence[str], last: str = "Transform") -> Prepared:
    """Runs the pipeline of an application up to `last` on `folder`/data, unless that is done."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner
    from tfx.orchestration.pipeline import RunOptions

    from pipeline.config import load_config
    from pipeline.pipeline import Locations, create_pipeline

    loaded = load_config(ROOT / f"applications/{name}/configs/{name}.yaml", overrides)
    features = loaded.loaded_application().features
    (folder / _FEATURES).write_text(json.dumps(features.to_json()), "utf-8")
    locations = Locations(
        pipeline_root=f"{folder}/root",
        data_root=f"{folder}/data",
        serving_folder=f"{folder}/serving",
        schema_file=str(ROOT / loaded.schema_file),
    )
    store = metadata.sqlite_metadata_connection_config(f"{folder}/mlmd.sqlite")
    LocalDagRunner().run(
        create_pipeline(loaded, locations, metadata_connection_config=store),
        RunOptions(to_nodes=[last, *(["SparkEmbeddings"] if loaded.embeddings else [])]),
    )
    return Prepared(folder)


def write_arrays(prepared: Prepared, path: Path) -> None:
    """Transformed examples as arrays, for a library that reads no TFRecords.

    SPLIT/FEATURE: a column of each split; FEATURE/1 of what din shares: one more, so that 0 is no
    event. sizes/FEATURE: the number of its indices. label: its name. shared: pairs of a feature and
    the sequence that shares its indices.
    """
    import numpy as np
    import tensorflow as tf
    import tensorflow_transform as tft

    from tabular.entry_points import transformed_sizes

    features = prepared.features
    transform = tft.TFTransformOutput(str(prepared.transform_graph))
    spec = transform.transformed_feature_spec()
    sizes = transformed_sizes(transform, features)
    arrays: dict[str, Any] = {f"sizes/{name}": np.int64(size) for name, size in sizes.items()}
    pairs = [
        (transformed(whose), transformed(name))
        for sequence in features.sequences
        for name, whose in sequence.columns.items()
    ]
    arrays |= {"label": np.array(features.label), "shared": np.array(pairs)}
    shared = [name for pair in pairs for name in pair]
    for split in ("train", "eval", "test"):
        files = tf.io.gfile.glob(prepared.transformed(split))
        batches = tf.data.TFRecordDataset(files, "GZIP").batch(8192)
        parsed = [tf.io.parse_example(batch, spec) for batch in batches]
        for name in spec:
            column = np.concatenate([batch[name].numpy() for batch in parsed])
            arrays[f"{split}/{name}"] = column
            if name in shared:
                arrays[f"{split}/{name}/1"] = column + 1
    np.savez(path, **arrays)


def widths(prepared: Prepared) -> dict[str, int]:
    """Transformed index feature -> the width our networks give its embedding."""
    import tensorflow_transform as tft

    from tabular.embedding_tables import embedding_width
    from tabular.entry_points import transformed_sizes

    transform = tft.TFTransformOutput(str(prepared.transform_graph))
    sizes = transformed_sizes(transform, prepared.features)
    return {name: embedding_width(size) for name, size in sizes.items()}
