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


def key_text(keys: Sequence[str | int | None]) -> str | None:
    """Returns the same text of values; None if one of them is None.

    Raises:
      TypeError: A key is neither text nor a whole number. Spark writes others in its own way.
    """
    if len(keys) == 1 and type(keys[0]) is str:
        return keys[0]
    text, last, is_missing = "", len(keys) - 1, False
    for place, key in enumerate(keys):
        one = key if type(key) is str else _text(key)
        if one is None:
            is_missing = True  # the other keys are checked, too
        else:
            text += one if place == last else f"{len(one)}:{one}"
    return None if is_missing else text


def _text(key: str | int | None) -> str | None:
    if key is None:
        return None
    if type(key) is not int:  # a bool is an int, but not to Spark
        raise TypeError(
            f"expected text or a whole number as a key. Received: {key!r}; cast it in the ETL "
            "and in the request"
        )
    return str(key)
