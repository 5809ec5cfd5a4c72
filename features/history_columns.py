"""The name and the columns of a history, for those who declare it without Spark."""

from __future__ import annotations

PAST = "past"  # name of its folder in hourly operation, and of the source that reads it
COLUMNS = {
    "entity": "string",
    "key": "string",
    "tile": "bigint",
    "at": "bigint",
    "numbers": "map<string,double>",
    "sketches": "map<string,binary>",
    "texts": "map<string,string>",
}
