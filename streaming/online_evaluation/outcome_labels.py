"""Labels by outcomes: 1 if an outcome followed an event in its time, else 0; or what it says."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import base.arrow  # noqa: F401
from base.durations import HOUR_MS
from pipeline.streaming_sections import Streaming
from streaming.hour_rows import hours_after
from streaming.indexes import complete_ms
from streaming.layout import PREVIEW, Layout


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
        known = complete_ms(self._layout, self._stream)
        return known is not None and known >= (hour + 1) * HOUR_MS + self._outcome.within_ms

    def versions(self, hour: int) -> str:
        """Returns the versions of the hours in which the outcomes lie, as text."""
        closed = self._layout.closed_hours()
        return ",".join(str(closed.get(h, {}).get("version", 1)) for h in self._hours(hour))

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
        # Of equal times the larger label, so that the order of files decides nothing.
        first = in_time.sort_values(["when", "label"], ascending=[True, False]).groupby("index")
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
                read = pq.ParquetFile(file).read([*dict.fromkeys(names.values())]).to_pandas()
                tables.append(pd.DataFrame({name: read[old] for name, old in names.items()}))
        return pd.concat(tables) if tables else pd.DataFrame({name: [] for name in names})
