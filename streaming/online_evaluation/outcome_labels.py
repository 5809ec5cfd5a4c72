"""Labels by outcomes: 1 if an outcome followed an event in its time, else 0; or what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.durations import HOUR_MS
from pipeline.streaming_sections import Streaming
from streaming.hour_rows import hours_after
from streaming.indexes import complete_ms
from streaming.layout import PREVIEW, Layout, hour_name


class OutcomeLabels:
    """The labels of served events by a stream of outcomes.

    Args:
      settings: Section `streaming` of the config.
      stream: Stream of outcomes.
      column: Column of the outcomes with the label; None if the label is whether one followed.
    """

    def __init__(self, settings: Streaming, stream: str, column: str | None = None):
        self.column = column
        self._layout, self._stream = Layout(settings.folder), stream
        self._declared, self._outcome = settings.streams[stream], settings.outcomes[stream]
        self.event_time = settings.streams[self._outcome.of].time

    def is_mature(self, hour: int) -> bool:
        """Returns whether every outcome of an hour's events has had its time."""
        return self._is_mature(hour, complete_ms(self._layout, self._stream))

    def _is_mature(self, hour: int, known: int | None) -> bool:
        return known is not None and known >= (hour + 1) * HOUR_MS + self._outcome.within_ms

    def versions(self, hours: Iterable[int], closed: Mapping[int, Any]) -> dict[int, str]:
        """Returns mature hour -> the versions of the hours in which its outcomes lie, as text.

        Args:
          hours: Hours to ask about.
          closed: Hour -> its newest marker.
        """
        known = complete_ms(self._layout, self._stream)
        version = {hour: str(marker["version"]) for hour, marker in closed.items()}
        return {
            hour: ",".join(version.get(other, "1") for other in self._hours(hour))
            for hour in hours
            if self._is_mature(hour, known)
        }

    def _hours(self, hour: int) -> Iterable[int]:
        return (hour, *hours_after(hour, self._outcome))

    def read(self, hour: int, ids: pd.Series, times: pd.Series) -> pd.Series:
        """Returns the labels of events; NaN while they are not mature.

        An event without an outcome has label 0, or none if the label is a column of the outcomes.

        Args:
          hour: Hour of the events.
          ids: Ids of the events.
          times: Times of the events, in epoch milliseconds.
        """
        if not self.is_mature(hour):
            return pd.Series(np.nan, index=ids.index)
        found = self._outcomes(hour)
        asked = pd.DataFrame({"id": ids, "at": times})
        pairs = asked.reset_index().merge(found, on="id")
        in_time = pairs[(pairs["when"] - pairs["at"]).between(0, self._outcome.within_ms)]
        if self.column is None:
            followed = set(in_time["index"])
            return pd.Series([float(one in followed) for one in ids.index], index=ids.index)
        # Of equal times the larger label, so that the order of files decides nothing. An outcome
        # that does not say anything is none.
        said = in_time.dropna(subset=["label"])
        first = said.sort_values(["when", "label"], ascending=[True, False]).groupby("index")
        return first["label"].first().reindex(ids.index)

    def _outcomes(self, hour: int) -> pd.DataFrame:
        """Returns `id` (of the event), `when` and any `label` of the outcomes that may count."""
        names = {"id": self._outcome.by, "when": self._declared.time}
        if self.column is not None:
            names["label"] = self.column
        closed, tables = self._layout.closed_hours(), []
        for other in self._hours(hour):
            version = closed[other]["version"] if other in closed else PREVIEW
            for file in sorted(self._layout.span(self._stream, other, version).glob("*.parquet")):
                opened = pq.ParquetFile(file)
                if missing := sorted(set(names.values()) - set(opened.schema_arrow.names)):
                    raise ValueError(
                        f"expected the column {missing[0]} of {self._stream} in the hour "
                        f"{hour_name(other)}, which is missing"
                    )
                # A whole number stays one beside a null, since an id may be one.
                read = opened.read([*dict.fromkeys(names.values())]).to_pandas(
                    integer_object_nulls=True
                )
                known = pd.DataFrame({name: read[old] for name, old in names.items()})
                tables.append(known.dropna(subset=["id"]))
        return pd.concat(tables) if tables else pd.DataFrame({name: [] for name in names})
