"""Encodes the parts of protobuf's wire format that tf.train.Example needs.

    https://protobuf.dev/programming-guides/encoding/

    Example      0A <length> Features
    Features     for each feature, a map entry:
                 0A <length> { 0A <length> name, 12 <length> Feature }
    Feature      one of  0A <length> BytesList,  12 <length> FloatList,  1A <length> Int64List
    BytesList    for each value:  0A <length> value
    FloatList    0A <length> four bytes a value, little-endian  (empty without values)
    Int64List    0A <length> a varint a value                   (likewise)

Lengths are varints: seven bits a byte, the lowest first, the top bit set on all but the last byte.
A negative int64 is its two's complement, ten bytes.
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct


def _is_prefix_last() -> bool:
    """Returns whether the installed protobuf's deterministic form puts "ab" before "a".

    upb, the implementation since protobuf 4, does.
    """
    sample = Struct()
    sample.update({"a": True, "ab": True})
    written = sample.SerializeToString(deterministic=True)
    return written.index(b"\x02ab") < written.index(b"\x01a")


_NAME_END = b"\xff" if _is_prefix_last() else b""


def varint(number: int) -> bytes:
    """Returns the varint of a number from 0 to 2**64 - 1."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def delimited(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def name_order(name: bytes) -> bytes:
    """Returns the sort key of a map's names in the installed protobuf's deterministic form.

    Implementations differ, so splits by whole record differ between TFX lines, as TFX's own do.
    """
    return name + _NAME_END


def canonical(example: bytes) -> bytes:
    """Sorts the features of a serialized tf.train.Example by `name_order`, as TFX hashes it."""
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
    """Returns the position after a varint, and its value."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return position, value
        shift += 7
