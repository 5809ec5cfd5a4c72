"""Labels as the ETL computed them: read from the examples of the pipeline's runs.

Whatever the ETL makes of an event's outcomes is its label, and it is stated there alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

import base.arrow  # noqa: F401
from base.errors import ComponentError
from metadata import names
from metadata.reader import MetadataReader
from metadata.records import Artifact
from pipeline.config import PipelineConfig
from pipeline.names import read_schema
from spark_io.examples.small_tfrecords import records
from streaming.operation.spans_done import complete_runs, outputs

_AT_ONCE = 10_000  # records that are decoded together
_MOST_KEPT = 64  # examples of so many runs stay in memory, a key and a number for each row


class EtlLabels:
    """The labels of a pipeline's hours.

    Args:
      config: Config of the pipeline.
      key: Feature of the examples that identifies an event.
      label: Feature of the examples with the label.
    """

    def __init__(self, config: PipelineConfig, key: str, label: str):
        self._config, self._key, self._label = config, key, label
        declared = read_schema(config.schema_file).feature
        self._features = {feature.name: feature for feature in declared}
        self._known: dict[int, pd.Series] = {}

    def examples(self) -> dict[int, Artifact]:
        """Returns hour -> the examples of the newest complete run that has read it.

        Examples whose files are gone are left out; `python -m lineage gc` may have deleted them.

        Raises:
          MetadataError: ML Metadata cannot be read.
        """
        runs = complete_runs(self._config)
        if not runs:
            return {}
        oldest_first = sorted(runs.values(), key=lambda run: run.started)
        ids = [i for run in oldest_first for i in outputs(run, "SparkExampleGen", "examples")]
        made = MetadataReader.connect(self._config.metadata_connection).artifacts(ids)
        found: dict[int, Artifact] = {}
        for artifact in (made[i] for i in ids if i in made):
            if Path(artifact.uri).is_dir():
                found |= dict.fromkeys(_hours(artifact), artifact)
        return dict(sorted(found.items()))

    def read(self, examples: Artifact) -> pd.Series:
        """Returns the labels of examples, as float64, by key as text.

        Raises:
          ValueError: A file is damaged, or rows of one key have different labels.
        """
        if examples.id not in self._known:
            while len(self._known) >= _MOST_KEPT:
                del self._known[next(iter(self._known))]
            self._known[examples.id] = self._read(Path(examples.uri))
        return self._known[examples.id]

    def _read(self, folder: Path) -> pd.Series:
        parts = [part for file in sorted(folder.glob("Split-*/*.gz")) for part in self._rows(file)]
        rows = pd.concat(parts) if parts else pd.DataFrame({"key": [], "label": []})
        rows = rows.dropna().drop_duplicates()
        if len(several := rows["key"][rows["key"].duplicated()]):
            raise ValueError(
                f"streaming.served.key: expected one label for each {self._key} in {folder}. "
                f"Received: several for {len(several):,} of them, such as {several.iloc[0]}"
            )
        return rows.set_index("key")["label"]

    def _rows(self, file: Path) -> Iterator[pd.DataFrame]:
        """Yields the keys and labels of a file."""
        read = _records(file)
        schema = schema_pb2.Schema(feature=[self._features[n] for n in (self._key, self._label)])
        coder = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString())
        while batch := list(itertools.islice(read, _AT_ONCE)):
            lists = coder.DecodeBatch(batch)
            columns = [_single(lists, name, file) for name in (self._key, self._label)]
            keys = columns[0].map(_text, na_action="ignore")
            yield pd.DataFrame({"key": keys, "label": pd.to_numeric(columns[1])})


def _hours(examples: Artifact) -> range:
    last = int(examples.properties[names.SPAN])
    first = str(examples.properties.get(names.SPANS, last)).partition("-")[0]
    return range(int(first), last + 1)


def _records(file: Path) -> Iterator[bytes]:
    try:
        yield from records(file)
    except (OSError, ComponentError) as error:
        raise ValueError(str(error)) from None


def _single(lists: pa.RecordBatch, name: str, file: Path) -> pd.Series:
    """Returns the only value of a feature in each example, None where it is missing."""
    values = lists.column(lists.schema.get_field_index(name)).to_pylist()
    if any(one is not None and len(one) > 1 for one in values):
        raise ValueError(f"{file}: expected one value of {name} in each example. Received: several")
    return pd.Series([one[0] if one else None for one in values], dtype=object)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
