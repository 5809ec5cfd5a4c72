"""Protobuf's wire format, as far as tf.train.Example needs it.

    https://protobuf.dev/programming-guides/encoding/

    Example      0A <length> Features
    Features     for each feature, a map entry:
                 0A <length> { 0A <length> name, 12 <length> Feature }
    Feature      one of  0A <length> BytesList,  12 <length> FloatList,  1A <length> Int64List
    BytesList    for each value:  0A <length> value
    FloatList    0A <length> four bytes a value, little-endian  (nothing where there is no value)
    Int64List    0A <length> a varint a value                   (likewise)

Lengths are varints: seven bits a byte, the lowest first, the top bit set on all but the last byte.
A negative int64 is its two's complement, ten bytes.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct


def _is_prefix_last() -> bool:
    """Whether the deterministic form of the installed protobuf has the name "ab" before "a".

    upb, the implementation since protobuf 4, has it so.
    """
    sample = Struct()
    sample.update({"a": True, "ab": True})
    written = sample.SerializeToString(deterministic=True)
    return written.index(b"\x02ab") < written.index(b"\x01a")


_NAME_END = b"\xff" if _is_prefix_last() else b""


def varint(number: int) -> bytes:
    """Of a number from 0 to 2**64 - 1."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def name_order(name: bytes) -> bytes:
    """Sort key of a map's names in the deterministic form of the installed protobuf.

    Each implementation sorts in its own way, so TFX's splits by whole record differ between its
    lines, and ours with them.
    """
    return name + _NAME_END


def canonical(example: bytes) -> bytes:
    """A serialized tf.train.Example with its features in `name_order`: what TFX hashes."""
    start, _ = _read_varint(example, 1)
    entries = []
    while start < len(example):
        content, length = _read_varint(example, start + 1)
        key, key_length = _read_varint(example, content + 1)
        end = content + length
        entries.append((name_order(example[key : key + key_length]), example[start:end]))
        start = end
    return delimited(b"\x0a", b"".join(entry for _, entry in sorted(entries)))


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """(position behind the varint, its value)."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return position, value
        shift += 7
