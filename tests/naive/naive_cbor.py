"""Canonical DAG-CBOR once more, from docs/wire.md §1 alone: slow, plain, no library."""

import hashlib
import unicodedata
from typing import Any

DEEP = 16


class Bad(Exception):
    """Bytes or values that the page does not allow."""


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major * 32 + number])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 256**size:
            return bytes([major * 32 + code]) + number.to_bytes(size, "big")
    raise Bad("number beyond 64 bits")


def encode(value: Any, depth: int = 0) -> bytes:
    """The one encoding of a value."""
    if depth > DEEP:
        raise Bad("too deep")
    if value is None or value is True or value is False:
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if type(value) is int:
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if type(value) is bytes:
        return _head(2, len(value)) + value
    if type(value) is str:
        if unicodedata.normalize("NFC", value) != value:
            raise Bad("text not in NFC")
        return _head(3, len(value.encode())) + value.encode()
    if type(value) in (list, tuple):
        return _head(4, len(value)) + b"".join(encode(item, depth + 1) for item in value)
    if type(value) is dict:
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        pairs = [encode(key) + encode(value[key], depth + 1) for key in keys]
        return _head(5, len(keys)) + b"".join(pairs)
    raise Bad(f"no encoding for {type(value)}")


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, size: int) -> bytes:
        if size > len(self.raw) - self.at:
            raise Bad("ends too soon")
        self.at += size
        return self.raw[self.at - size : self.at]

    def head(self) -> tuple[int, int]:
        first = self.take(1)[0]
        major, low = first // 32, first % 32
        if low < 24:
            return major, low
        if low > 27 or major == 7:
            raise Bad("a head that is not allowed")
        size = 2 ** (low - 24)
        number = int.from_bytes(self.take(size), "big")
        if number < (24 if size == 1 else 256 ** (size // 2)):
            raise Bad("not the shortest form")
        return major, number

    def value(self, depth: int) -> Any:
        if depth > DEEP:
            raise Bad("too deep")
        major, number = self.head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            return self.take(number)
        if major == 3:
            return self._text(number)
        if major == 4:
            return [self.value(depth + 1) for _ in range(number)]
        if major == 5:
            return self._map(number, depth)
        if major == 7 and number in (20, 21, 22):
            return {20: False, 21: True, 22: None}[number]
        raise Bad("a tag, a float, or another simple value")

    def _text(self, size: int) -> str:
        try:
            text = self.take(size).decode()
        except UnicodeDecodeError as error:
            raise Bad("not UTF-8") from error
        if unicodedata.normalize("NFC", text) != text:
            raise Bad("text not in NFC")
        return text

    def _map(self, size: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        before: tuple[int, bytes] | None = None
        for _ in range(size):
            key = self.value(depth + 1)
            if type(key) is not str:
                raise Bad("a key that is not text")
            place = (len(key.encode()), key.encode())
            if before is not None and place <= before:
                raise Bad("keys out of order")
            before = place
            found[key] = self.value(depth + 1)
        return found


def decode(raw: bytes) -> Any:
    """The value, or Bad."""
    reader = _Reader(raw)
    value = reader.value(0)
    if reader.at != len(raw):
        raise Bad("something behind the value")
    return value


def sha(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()


def hashed(*items: Any) -> bytes:
    """H(tag, …), and every hashed node of a tree."""
    return sha(encode(list(items)))


def id_of_hash(digest: bytes) -> bytes:
    return b"\x01\x71\x12\x20" + digest


def id_of(raw: bytes) -> bytes:
    """CIDv1, dag-cbor, sha2-256, as 36 bytes."""
    return id_of_hash(sha(raw))
