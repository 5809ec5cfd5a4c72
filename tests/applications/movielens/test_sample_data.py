"""MovieLens 100k has the published counts, and errors name the next step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from applications.movielens import sample_data as movielens


def run(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "applications.movielens.sample_data", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("movielens") / "out"
    done = run(out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.integration
def test_counts_are_the_published_ones(folder):
    files = sorted((folder / "ratings").glob("*/*.json.gz"))
    days = {file: pd.read_json(file, lines=True, dtype={"user_id": str}) for file in files}
    ratings = pd.concat(days.values())
    users, films = pd.read_parquet(folder / "users.parquet"), pd.read_csv(folder / "films.csv")
    assert (len(ratings), len(users), len(films)) == (100_000, 943, 1682)
    assert (ratings["stars"] >= 4).sum() == 55_375
    assert ratings["rating_id"].is_unique
    assert set(ratings["user_id"]) <= set(users["user_id"])
    assert set(ratings["film_id"]) <= set(films["film_id"])
    for file, rows in days.items():
        own_day = pd.to_datetime(rows["timestamp_ms"], unit="ms").dt.strftime("%Y-%m-%d")
        assert (own_day == file.parent.name).all()


@pytest.mark.integration
def test_a_known_user_and_film(folder):
    user = pd.read_parquet(folder / "users.parquet").set_index("user_id").loc["1"]
    assert list(user) == [24, "m", "technician", "8"]
    film = pd.read_csv(folder / "films.csv").set_index("film_id").loc[1]
    assert list(film) == ["Animation|Children's|Comedy", 1995]


@pytest.mark.integration
def test_a_second_call_has_nothing_to_do_even_without_network(folder, tmp_path):
    done = run(folder, XDG_CACHE_HOME=str(tmp_path), PIP_NO_INDEX="1")
    assert "nothing to do" in done.stderr


@pytest.mark.unit
def test_no_network_ends_in_one_line_and_touches_nothing(tmp_path):
    done = run(tmp_path / "out", XDG_CACHE_HOME=str(tmp_path / "cache"), PIP_NO_INDEX="1")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "check the network" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.unit
def test_an_unwritable_cache_names_the_variable(tmp_path):
    (tmp_path / "file").touch()
    done = run(tmp_path / "out", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "XDG_CACHE_HOME" in done.stderr


@pytest.mark.integration
def test_a_wrong_hash_is_an_error(folder, tmp_path, monkeypatch):
    pinned = movielens.REQUIREMENT.read_text()
    wrong = tmp_path / "movielens.txt"
    wrong.write_text(pinned.replace("sha256:9", "sha256:8"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(movielens.DownloadError, match="wrong hash"):
        movielens.fetch_wheel(wrong)


@pytest.mark.unit
def test_a_damaged_wheel_is_named(tmp_path):
    wheel = tmp_path / "recbole-0.whl"
    wheel.write_bytes(b"no zip")
    with pytest.raises(movielens.DownloadError, match=r"recbole-0\.whl is damaged"):
        movielens.read_wheel(wheel)
