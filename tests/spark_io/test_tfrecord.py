"""The files are what TensorFlow reads, and what their own counts and checksums say."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from spark_io.examples.shards import JsonLinesShard
from spark_io.examples.tfrecord import TFRecordShard, framed

pytestmark = pytest.mark.unit

LENGTHS = st.integers(0, 300) | st.sampled_from([255, 256, 65_535, 65_536, 70_000])
RECORDS = st.lists(st.binary(max_size=20) | LENGTHS.map(bytes), min_size=1, max_size=30)


def tensorflow_file(records: list[bytes], path: Path) -> bytes:
    """The file that TensorFlow itself would write."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


@given(RECORDS, st.integers(0, 3))
def test_the_bytes_are_tensorflows(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], skipped: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "records"
    column = pa.array([b"sliced off"] * skipped + records, pa.binary()).slice(skipped)
    assert framed(column).tobytes() == tensorflow_file(records, path)


def test_a_length_of_many_bytes(tmp_path: Path) -> None:
    records = [b"x" * ((1 << 24) + 0x10203)]
    assert framed(pa.array(records)).tobytes() == tensorflow_file(records, tmp_path / "records")


def test_a_shard_is_what_tensorflow_reads(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    shard = TFRecordShard(tmp_path / "new" / "shard.gz")
    many = [np.random.default_rng(n).bytes(n) for n in range(2000)]
    shard.write_all(pa.array(many))
    shard.write_all(pa.array([b""]))
    shard.write_all(pa.array([], pa.binary()))
    shard.write_all(pa.array([b"x" * 100_000]))
    shard.close()
    shard.close()
    read = tf.data.TFRecordDataset(str(shard.path), compression_type="GZIP")
    assert list(read.as_numpy_iterator()) == [*many, b"", b"x" * 100_000]
    content = shard.path.read_bytes()
    assert (shard.rows, shard.bytes) == (2002, len(content))
    assert shard.crc32c == google_crc32c.value(content)


def test_a_shard_without_a_record(tmp_path: Path) -> None:
    shard = TFRecordShard(tmp_path / "shard.gz")
    shard.close()
    assert gzip.decompress(shard.path.read_bytes()) == b""
    assert shard.rows == 0


@pytest.mark.parametrize("kind", [TFRecordShard, JsonLinesShard])
def test_what_is_closed_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[TFRecordShard | JsonLinesShard]
) -> None:
    synced: list[tuple[Path, int]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((path, path.stat().st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    shard = kind(tmp_path / "shard.gz")
    shard.close()
    assert synced == [(shard.path, shard.path.stat().st_size)]


def test_json_lines(tmp_path: Path) -> None:
    shard = JsonLinesShard(tmp_path / "rows.json.gz")
    shard.write({"record": "zażółć\n"})
    shard.write({"record": None})
    shard.close()
    text = gzip.decompress(shard.path.read_bytes()).decode()
    assert text == '{"record": "zażółć\\n"}\n{"record": null}\n'
