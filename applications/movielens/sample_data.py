"""Writes MovieLens 100k (ratings, users and films) from the recbole wheel."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa

import base.arrow  # noqa: F401
from applications.sample_files import output_folder
from applications.sample_files.log_writer import (
    json_lines,
    write_csv,
    write_lines,
    write_parquet,
)
from base.console import Failure, PlainConsole

FORMAT_VERSION = 2
REQUIREMENT = Path(__file__).resolve().parents[2] / "requirements" / "movielens.txt"
_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
FILES = ("ratings", "users.parquet", "films.csv")
_DAY_MS = 86_400_000


class DownloadError(RuntimeError):
    """The data is not available; the text is one line that names the next step."""


def cache_folder() -> Path:
    """Returns ${XDG_CACHE_HOME:-~/.cache}/spark-tfx-pipeline."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "spark-tfx-pipeline"


def fetch_wheel(requirement: Path = REQUIREMENT) -> Path:
    """Returns the pinned wheel from the cache or from pip, after checking its hash.

    Raises:
      DownloadError: There is no network or no such package, the hash is wrong, or the cache cannot
        be written.
    """
    try:
        hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirement.read_text()))
    except OSError as error:
        raise DownloadError(f"{requirement} cannot be read; restore it from git") from error
    cache = cache_folder()
    for wheel in sorted(cache.glob("recbole-*.whl")):
        if _has_hash(wheel, hashes):
            return wheel
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as folder:
            _pip_download(requirement, Path(folder))
            for wheel in Path(folder).glob("recbole-*.whl"):
                return wheel.replace(cache / wheel.name)
    except OSError as error:
        raise DownloadError(
            f"cannot write to {cache} ({error.strerror}): set XDG_CACHE_HOME to another folder"
        ) from error
    raise DownloadError(f"pip downloaded no wheel; restore {requirement} from git")


def _has_hash(wheel: Path, hashes: set[str]) -> bool:
    return hashlib.sha256(wheel.read_bytes()).hexdigest() in hashes


def _pip_download(requirement: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--retries", "1"]
    command += ["--timeout", "20", "--require-hashes", "-r", str(requirement), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    output = done.stdout + done.stderr
    if "No space left" in output:
        raise DownloadError(
            f"the disk that holds {folder.parent} is full: free some space or set XDG_CACHE_HOME"
        )
    if "DO NOT MATCH THE HASHES" in output:
        raise DownloadError(
            f"the package recbole is not the one pinned in {requirement.name} (wrong hash): "
            "do not use it; check the package index that pip is set to"
        )
    if "No module named pip" in output:
        raise DownloadError("pip is missing: run `make setup`")
    last = [line for line in output.splitlines() if line.startswith("ERROR")] or ["no reason given"]
    raise DownloadError(
        f"pip cannot fetch the package recbole: check the network and try again ({last[0]})"
    )


def load_movielens(out: Path, *, overwrite: bool = False) -> dict[str, int] | None:
    """Writes MovieLens 100k to `out`; README.md describes each column.

    Args:
      out: Output folder.
      overwrite: Whether to write into a folder that holds other files.

    Returns:
      Number of ratings, users and films; None if `out` already holds the data.

    Raises:
      DownloadError: The wheel cannot be downloaded; see fetch_wheel.
      OutputError: `out` holds other files, cannot be written to, or the disk is full.
    """
    description: dict[str, Any] = {"kind": "movielens_100k", "format_version": FORMAT_VERSION}
    old = output_folder.read_manifest(out)
    if old is not None and old == {**old, **description, "complete": True}:
        return None
    ratings, users, films = read_wheel(fetch_wheel())  # before anything in `out` changes
    output_folder.begin(out, description, FILES, overwrite=overwrite)
    with output_folder.readable_errors(out):
        write_parquet(out / "users.parquet", user_table(users))
        write_csv(out / "films.csv", film_table(films))
        _write_ratings(out, ratings)
        counts = {"ratings": len(ratings), "users": len(users), "films": len(films)}
        output_folder.write_manifest(out, {**description, "counts": counts, "complete": True})
    return counts


def read_wheel(wheel: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Returns the wheel's ratings, users and films, with types removed from column names."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            tables = []
            for kind in ("inter", "user", "item"):
                with archive.open(f"{_FOLDER}.{kind}") as file:
                    table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
                tables.append(table.rename(columns=lambda name: name.split(":")[0]))
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{wheel} is damaged; delete it and try again") from error
    ratings, users, films = tables
    return ratings, users, films


def user_table(users: pd.DataFrame) -> pa.Table:
    """Returns users.parquet; the region is the first digit of the zip code."""
    digit = users["zip_code"].str.slice(0, 1)
    columns = {
        "user_id": pa.array(users["user_id"].tolist(), pa.string()),
        "age": pa.array(users["age"].astype(int).tolist(), pa.int32()),
        "gender": pa.array(users["gender"].str.lower().tolist(), pa.string()),
        "occupation": pa.array(users["occupation"].tolist(), pa.string()),
        "region": pa.array(np.where(digit.str.isdigit(), digit, "other"), pa.string()),
    }
    return pa.table(columns)


def film_table(films: pd.DataFrame) -> pa.Table:
    """Returns films.csv; genres are separated by "|", and an unknown year is empty."""
    year = pd.to_numeric(films["release_year"], errors="coerce")
    columns = {
        "film_id": pa.array(films["item_id"].tolist(), pa.string()),
        "genres": pa.array(["|".join(text.split()) for text in films["class"]], pa.string()),
        # As text, since pandas writes integers beside empty fields as 1995.0.
        "year": pa.array([None if np.isnan(y) else str(int(y)) for y in year], pa.string()),
    }
    return pa.table(columns)


def _write_ratings(out: Path, ratings: pd.DataFrame) -> None:
    """Writes one file per day (UTC), with the ratings in order of time."""
    log = pd.DataFrame({"row": np.arange(len(ratings))})
    log["timestamp_ms"] = ratings["timestamp"].astype("int64") * 1000
    log["user_id"], log["film_id"] = ratings["user_id"], ratings["item_id"]
    log["stars"] = ratings["rating"].astype(float).astype("int64")
    log = log.sort_values(["timestamp_ms", "row"], kind="stable")
    log["rating_id"] = "ml-" + log["row"].astype(str)
    columns = ["rating_id", "user_id", "film_id", "stars", "timestamp_ms"]
    for _, rows in log.groupby(log["timestamp_ms"] // _DAY_MS):
        day = pd.Timestamp(int(rows["timestamp_ms"].iloc[0]), unit="ms")
        table = pa.Table.from_pandas(rows[columns], preserve_index=False)
        write_lines(out / "ratings" / f"{day:%Y-%m-%d}", 0, json_lines(table))


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds other files too.")
def main(out: Path, overwrite: bool) -> None:
    """Writes MovieLens 100k: 100,000 ratings of films by 943 users over seven months.

    \b
    pip downloads the recbole package, which has the data, to the user's cache:
      python -m applications.movielens.sample_data --out data/movielens
    """
    console = PlainConsole(stderr=True, soft_wrap=True)
    try:
        counts = load_movielens(out, overwrite=overwrite)
    except (DownloadError, output_folder.OutputError) as error:
        raise Failure(error) from None
    if counts is None:
        console.print(f"{out} already holds MovieLens 100k; nothing to do")
        return
    console.print(
        f"{out}: {counts['ratings']:,} ratings by {counts['users']:,} users of "
        f"{counts['films']:,} films"
    )


if __name__ == "__main__":
    main(prog_name="python -m applications.movielens.sample_data")
