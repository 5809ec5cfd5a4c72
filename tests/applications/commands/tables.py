"""Three small tables that are not clicks: one with dirt, one of several classes, one of amounts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# Names of columns that must not become code, paths or patterns.
HOSTILE = (
    "plain",
    "with \"quotes\" and 'others'",
    "dots.and.more",
    "`backticks`",
    "ünï çødé 名前",
    "{SPAN}",
    "import os",
    "self",
    "yes",
    "null",
    "back\\slash",
    '"""; raise SystemExit(1) #',
    "{{ 7 * 7 }} {% raw %}",
    "price_xf",
    "price",
    "123",
    "café",
    "cafe_",
    "_source",
)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def machines(path: Path, rows: int = 3000) -> Path:
    """Writes csv: whether a machine fails, with missing values, dirt and a column that tells it."""
    chance = np.random.default_rng(5)
    found = []
    for number in range(rows):
        heat, age = float(chance.gamma(3, 12)), int(chance.integers(0, 3000))
        plant = str(chance.choice(["Essen", "Łódź", "Turin"]))
        fails = chance.random() < 1 / (1 + np.exp(3.2 - heat / 18 - (plant == "Essen")))
        label = "fails" if fails else "runs"
        if number % 250 == 7:
            label = ("", "n/a", "perhaps")[number // 250 % 3]
        found.append(
            {
                "Machine No": f"M-{number:05d}",
                "heat (°C)": "n/a" if number % 40 == 3 else f"{heat:.2f}",
                "age in days": age,
                "Plant": "" if number % 50 == 9 else plant,
                "line": f"{number % 9:03d}",
                "checked on": f"2025-{number % 12 + 1:02d}-11",
                "repair": "ordered" if fails else "not needed",
                "State": label,
            }
        )
    return write_csv(path, found)


def fruits(path: Path, rows: int = 1200) -> Path:
    """Writes JSON lines: one of three fruits by size and weight."""
    chance = np.random.default_rng(6)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            kind = int(chance.integers(0, 3))
            row = {
                "size": round(float(chance.normal(4 + 3 * kind, 1)), 3),
                "weight": int(chance.normal(100 + 60 * kind, 20)),
                "ripe": bool(chance.random() < 0.5),
                "tags": ["a", "b"],
                "fruit": ["plum", "apple", "melon"][kind],
            }
            file.write(json.dumps(row) + "\n")
    return path


def rents(path: Path, rows: int = 1200) -> Path:
    """Writes Parquet: the rent of a flat by its area."""
    chance = np.random.default_rng(7)
    area = chance.gamma(6, 12, rows)
    columns = {
        "flat_id": pa.array(np.arange(rows) + 10**12, pa.int64()),
        "area": pa.array(area),
        "rooms": pa.array((area // 25 + 1).astype("int32")),
        "built": pa.array([7305] * rows, pa.int32()).cast(pa.date32()),
        "rent": pa.array(9.5 * area + chance.normal(0, 40, rows)),
    }
    pq.write_table(pa.table(columns), path)
    return path


def hostile(path: Path, rows: int = 300) -> Path:
    """Writes csv whose names of columns and values look like code, paths and patterns."""
    chance = np.random.default_rng(8)
    values = ("'; DROP", "../../etc", "{{ 1 }}", '"', "\\", "${HOME}", "ünï", "=1+1", "# x: y")
    found = []
    for number in range(rows):
        row = {name: values[(number + place) % len(values)] for place, name in enumerate(HOSTILE)}
        row["price"] = str(number / 7)
        row['it\'s a "label": {x}'] = 'it\'s "yes"' if chance.random() < 0.4 else "no\\"
        found.append(row)
    return write_csv(path, found)
