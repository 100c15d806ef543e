"""Canonical records of the network: lists of integers, byte strings and ASCII text.

The strict subset of DAG-CBOR that links need (link keys, hellos, topics): definite lengths,
shortest heads, no maps, no floats, no tags. It knows nothing of what a record means; ids, blocks
and votes travel as opaque bytes and never come through here.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from network.errors import RemoteError
from network.limits import BLAME_MALFORMED

Item: TypeAlias = "int | bytes | str | tuple[Item, ...]"

DEPTH_MAX: Final = 4
INT_MAX: Final = (1 << 64) - 1

_UNSIGNED, _BYTES, _TEXT, _LIST = 0, 2, 3, 4
_FIRST_PRINTABLE, _LAST_PRINTABLE = 0x20, 0x7E


def encode(item: Item) -> bytes:
    """Canonical bytes of a record. Items are ours, so a bad one is a bug."""
    out = bytearray()
    _encode(item, out)
    return bytes(out)


def decode(raw: bytes) -> tuple[Item, ...]:
    """The list that `raw` is, all of it. `RemoteError` if it is not canonical."""
    item, end = _decode(raw, 0, DEPTH_MAX)
    if end != len(raw):
        raise malformed("bytes after the record")
    if not isinstance(item, tuple):
        raise malformed("record is no list")
    return item


def malformed(cause: str) -> RemoteError:
    """The error of bytes that are wrong in themselves."""
    return RemoteError(cause, BLAME_MALFORMED)


def printable(text: bytes) -> bool:
    """True for non-empty printable ASCII: one spelling for each name."""
    return bool(text) and all(_FIRST_PRINTABLE <= byte <= _LAST_PRINTABLE for byte in text)


def _head(major: int, value: int) -> bytes:
    assert 0 <= value <= INT_MAX
    if value < 24:
        return bytes((major << 5 | value,))
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << (8 * size):
            return bytes((major << 5 | info,)) + value.to_bytes(size, "big")
    raise AssertionError(value)


def _encode(item: Item, out: bytearray) -> None:
    if isinstance(item, int):
        out += _head(_UNSIGNED, item)
    elif isinstance(item, bytes):
        out += _head(_BYTES, len(item)) + item
    elif isinstance(item, str):
        text = item.encode("ascii")
        assert printable(text), item
        out += _head(_TEXT, len(text)) + text
    else:
        out += _head(_LIST, len(item))
        for inner in item:
            _encode(inner, out)


def _decode_head(raw: bytes, at: int) -> tuple[int, int, int]:
    """(major type, value, position after the head)."""
    if at >= len(raw):
        raise malformed("record is cut off")
    major, info = raw[at] >> 5, raw[at] & 31
    at += 1
    if info < 24:
        return major, info, at
    if info > 27:
        raise malformed("indefinite or reserved length")
    size = 1 << (info - 24)
    if at + size > len(raw):
        raise malformed("record is cut off")
    value = int.from_bytes(raw[at : at + size], "big")
    shortest = 24 if size == 1 else 1 << (8 * (size // 2))
    if value < shortest:
        raise malformed("length or integer not in its shortest form")
    return major, value, at + size


def _decode(raw: bytes, at: int, depth: int) -> tuple[Item, int]:
    major, value, at = _decode_head(raw, at)
    if major == _UNSIGNED:
        return value, at
    if major in (_BYTES, _TEXT):
        end = at + value
        if end > len(raw):
            raise malformed("record is cut off")
        data = raw[at:end]
        if major == _BYTES:
            return data, end
        if not printable(data):
            raise malformed("text is not printable ASCII")
        return data.decode("ascii"), end
    if major != _LIST:
        raise malformed("type not allowed in a record")
    if depth == 0:
        raise malformed("record too deep")
    if value > len(raw) - at:
        raise malformed("record is cut off")
    items: list[Item] = []
    for _ in range(value):
        item, at = _decode(raw, at, depth - 1)
        items.append(item)
    return tuple(items), at
