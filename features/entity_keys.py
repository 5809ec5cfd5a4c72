"""One text for the keys of an entity.

A single key is itself. Of several, all but the last have their length in front (`4:bookshop`), so
different keys never make the same text, whatever is in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812


def key_column(keys: Sequence[str]) -> Column:
    """Returns the text of the keys in these columns; null if one of them is null."""
    *others, last = (F.col(key).cast("string") for key in keys)
    prefixed = [part for key in others for part in (F.length(key).cast("string"), F.lit(":"), key)]
    return F.concat(*prefixed, last) if prefixed else last
