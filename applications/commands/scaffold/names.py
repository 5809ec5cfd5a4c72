"""Makes names of features from the names of columns, which may be any text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

# Names that something between Spark and TensorFlow Serving already uses.
_TAKEN = ("self", "inputs", "examples", "dense", "prediction", "probability", "probabilities")
_SUFFIXES = ("_xf", "_bucket", "_missing")  # of features that are made from others
_LONGEST = 60


def feature_name(column: str, taken: Collection[str], place: int) -> str:
    """Returns a name of ASCII letters, digits and underscores that begins with a letter.

    A column that has such a name keeps it.

    Args:
      column: Name of the column.
      taken: Names that other features have; upper and lower case count as the same.
      place: Number of the column, for one whose name has no such character.
    """
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_]+", "_", plain)[:_LONGEST]
    if name != column:
        name = name.strip("_")
    name = re.sub(r"^[^A-Za-z]+", "", name) or f"column_{place}"
    if name.lower() in _TAKEN or name.lower().endswith(_SUFFIXES):
        name = f"{name}_column"
    others = {one.lower() for one in taken}
    unique, number = name, 2
    while unique.lower() in others:
        unique, number = f"{name}_{number}", number + 1
    return unique
