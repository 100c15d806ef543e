"""Canonical DAG-CBOR: the strict encoder, the strict decoder, record schemas, `H` (protocol §2).

Nobody else in the repository encodes or hashes what is signed or sent. Bytes are verified, stored
and hashed as received; `Schema.decode` proves that they are the one encoding of what they say, by
encoding the decoded fields again. libipld decodes (it is fast and refuses almost everything that
is not canonical); it never encodes here, because it turns byte strings that parse as a CID into
links.
"""

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import libipld

from consensus.errors import EncodingError
from consensus.ids import ID_BYTES, ID_PREFIX, Hash

Value = Any  # None | bool | int | str | bytes | list[Value] | dict[str, Value]: what users may send

DEPTH_MAX = 16
UINT_MAX = 2**64 - 1
INT_MIN = -(2**64)
HEIGHT_MAX = 2**63 - 1  # of what is voted on; the height after it is a number of 64 bits too
ROUND_MAX = 65_535  # protocol §8


# ---- encoding -----------------------------------------------------------------------------------


def head(major: int, number: int) -> bytes:
    """The shortest CBOR head of a major type (0..7) and an argument (0..2^64-1)."""
    if number < 24:
        return bytes((major << 5 | number,))
    if number < 0x100:
        return bytes((major << 5 | 24, number))
    if number < 0x10000:
        return bytes((major << 5 | 25,)) + number.to_bytes(2, "big")
    if number < 0x100000000:
        return bytes((major << 5 | 26,)) + number.to_bytes(4, "big")
    return bytes((major << 5 | 27,)) + number.to_bytes(8, "big")


def _bytes(value: bytes) -> bytes:
    return head(2, len(value)) + value


def _text(value: str) -> bytes:
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise EncodingError("text with a lone surrogate") from error
    if not value.isascii() and not unicodedata.is_normalized("NFC", value):
        raise EncodingError("text is not in NFC")
    return head(3, len(raw)) + raw


def _int(value: int) -> bytes:
    if 0 <= value <= UINT_MAX:
        return head(0, value)
    if INT_MIN <= value < 0:
        return head(1, -1 - value)
    raise EncodingError("an integer outside 64 bits")


def encode(value: Value, depth: int = 0) -> bytes:
    """Canonical bytes of a value.

    Raises EncodingError for what has none: floats, sets, maps whose keys are not text, trees
    deeper than DEPTH_MAX, whole numbers above 64 bits, text outside NFC.
    """
    if depth > DEPTH_MAX:
        raise EncodingError(f"nested deeper than {DEPTH_MAX}")
    if value is None:
        return b"\xf6"
    if value is True:
        return b"\xf5"
    if value is False:
        return b"\xf4"
    if isinstance(value, int):
        return _int(value)
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        parts = [head(4, len(value))]
        parts += [encode(item, depth + 1) for item in value]
        return b"".join(parts)
    if isinstance(value, dict):
        return _encode_map(value, depth)
    raise EncodingError(f"{type(value).__name__} has no canonical form")


def _encode_map(value: Mapping[str, Value], depth: int) -> bytes:
    if not all(isinstance(key, str) for key in value):
        raise EncodingError("a map key that is not text")
    keys = sorted((_text(key), key) for key in value)  # shorter first: the head holds the length
    parts = [head(5, len(keys))]
    for raw, key in keys:
        parts.append(raw)
        parts.append(encode(value[key], depth + 1))
    return b"".join(parts)


def H(tag: str, *items: Value) -> Hash:  # noqa: N802  protocol §2 calls it H
    """sha256 of the canonical list [tag, …items]; 32 bytes."""
    return Hash(hashlib.sha256(encode([tag, *items])).digest())


# ---- decoding -----------------------------------------------------------------------------------


def _parse(raw: bytes) -> Value:
    try:
        return libipld.decode_dag_cbor(raw)
    except (ValueError, RecursionError, OverflowError, TypeError, MemoryError) as error:
        raise EncodingError("not DAG-CBOR") from error


def decode(raw: bytes, *, max_bytes: int) -> Value:
    """The value of canonical bytes. Raises EncodingError; `encode(decode(raw)) == raw` holds."""
    if len(raw) > max_bytes:
        raise EncodingError(f"{len(raw)} bytes, at most {max_bytes}")
    value = _parse(raw)
    if encode(value) != raw:
        raise EncodingError("not canonical")
    return value


# ---- record schemas -----------------------------------------------------------------------------


class Kind(NamedTuple):
    """How one field is checked and written: `check` returns the field or raises EncodingError."""

    name: str
    check: Callable[[Value], Any]
    write: Callable[[Any], bytes]


def _fixed(name: str, length: int) -> Kind:
    prefix = head(2, length)

    def check(value: Value) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise EncodingError(f"expected {length} bytes of {name}")
        return value

    return Kind(name, check, lambda value: prefix + value)


def _check_id(value: Value) -> bytes:
    if type(value) is not bytes or len(value) != ID_BYTES or value[:4] != ID_PREFIX:
        raise EncodingError("expected an id of 36 bytes")
    return value


def _check_uint(value: Value) -> int:
    if type(value) is not int or not 0 <= value <= UINT_MAX:
        raise EncodingError("expected a whole number of 64 bits")
    return value


def _bounded(name: str, least: int, most: int) -> Kind:
    def check(value: Value) -> int:
        if type(value) is not int or not least <= value <= most:
            raise EncodingError(f"expected a {name} of {least} to {most}")
        return value

    return Kind(name, check, _int)


def _check_bool(value: Value) -> bool:
    if type(value) is not bool:
        raise EncodingError("expected true or false")
    return value


HASH = _fixed("hash", 32)
KEY = _fixed("key", 32)
NONCE = _fixed("nonce", 16)
SIGNATURE = _fixed("signature", 64)
_ID_HEAD = head(2, ID_BYTES)
ID = Kind("id", _check_id, lambda value: _ID_HEAD + value)
UINT = Kind("uint", _check_uint, _int)
HEIGHT = _bounded("height", 1, HEIGHT_MAX)  # nobody votes on the genesis
ROUND = _bounded("round", 0, ROUND_MAX)
BOOL = Kind("bool", _check_bool, lambda value: b"\xf5" if value else b"\xf4")
VALUE = Kind("value", lambda value: value, lambda value: encode(value, 1))  # inside a record


def blob(max_bytes: int) -> Kind:
    """A byte string of at most `max_bytes`."""

    def check(value: Value) -> bytes:
        if type(value) is not bytes or len(value) > max_bytes:
            raise EncodingError(f"expected at most {max_bytes} bytes")
        return value

    return Kind(f"bytes<{max_bytes}", check, _bytes)


def text(max_bytes: int) -> Kind:
    """Text in NFC of at most `max_bytes` in UTF-8."""

    def check(value: Value) -> str:
        if type(value) is not str or len(value.encode(errors="replace")) > max_bytes:
            raise EncodingError(f"expected text of at most {max_bytes} bytes")
        return value

    return Kind(f"text<{max_bytes}", check, _text)


def optional(kind: Kind) -> Kind:
    """The kind, or null."""
    check, write = kind.check, kind.write
    return Kind(
        f"{kind.name}?",
        lambda value: None if value is None else check(value),
        lambda value: b"\xf6" if value is None else write(value),
    )


def list_of(kind: Kind, max_items: int) -> Kind:
    """A list of at most `max_items`; in Python a tuple."""
    check, write = kind.check, kind.write

    def check_list(value: Value) -> tuple[Any, ...]:
        if type(value) is not list or len(value) > max_items:
            raise EncodingError(f"expected a list of at most {max_items} {kind.name}")
        return tuple([check(item) for item in value])

    def write_list(value: Sequence[Any]) -> bytes:
        return head(4, len(value)) + b"".join([write(item) for item in value])

    return Kind(f"[{kind.name}]", check_list, write_list)


def row(*kinds: Kind) -> Kind:
    """A list of fixed length with a kind for each place; in Python a tuple."""
    prefix = head(4, len(kinds))

    def check(value: Value) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(kinds):
            raise EncodingError(f"expected a list of {len(kinds)}")
        return tuple([kind.check(item) for kind, item in zip(kinds, value, strict=True)])

    def write(value: Sequence[Any]) -> bytes:
        pairs = zip(kinds, value, strict=True)
        return prefix + b"".join([kind.write(item) for kind, item in pairs])

    return Kind("row", check, write)


class Schema:
    """One record type: tag, version, the kinds of its fields in order, its size bound.

    The canonical list is [tag, version, …fields]. `signed=True` records end with a 64-byte
    signature that covers the list without it (`encode_unsigned`), so the last field of `decode` is
    the signature.
    """

    __slots__ = ("_checks", "_head", "_unsigned_head", "_writes", "max_bytes", "tag", "version")

    def __init__(
        self, tag: str, version: int, kinds: Sequence[Kind], *, max_bytes: int, signed: bool = False
    ) -> None:
        fields = [*kinds, SIGNATURE] if signed else list(kinds)
        self.tag, self.version, self.max_bytes = tag, version, max_bytes
        self._checks = [kind.check for kind in fields]
        self._writes = [kind.write for kind in fields]
        name = _text(tag) + _int(version)
        self._head = head(4, len(fields) + 2) + name
        self._unsigned_head = head(4, len(fields) + 1) + name

    def encode(self, fields: Sequence[Any]) -> bytes:
        """Canonical bytes of all fields."""
        pairs = zip(self._writes, fields, strict=True)
        return self._head + b"".join([write(item) for write, item in pairs])

    def encode_unsigned(self, fields: Sequence[Any]) -> bytes:
        """Canonical bytes of a signed record without its signature: what the signature covers."""
        pairs = zip(self._writes[:-1], fields, strict=True)
        return self._unsigned_head + b"".join([write(item) for write, item in pairs])

    def decode(self, raw: bytes) -> Any:
        """The checked fields (a tuple) of canonical bytes. Raises EncodingError."""
        if len(raw) > self.max_bytes:
            raise EncodingError(f"{self.tag}: {len(raw)} bytes, at most {self.max_bytes}")
        fields = self.check(_parse(raw))
        if self.encode(fields) != raw:
            raise EncodingError(f"{self.tag}: not canonical")
        return fields

    def check(self, value: Value) -> tuple[Any, ...]:
        """The checked fields of an already parsed list."""
        if type(value) is not list or len(value) != len(self._checks) + 2:
            raise EncodingError(f"{self.tag}: expected a list of {len(self._checks) + 2}")
        if value[0] != self.tag or value[1] != self.version or type(value[1]) is not int:
            raise EncodingError(f"{self.tag}: expected tag {self.tag!r}, version {self.version}")
        return tuple([check(item) for check, item in zip(self._checks, value[2:], strict=True)])


_SIGNATURE_ITEM_BYTES = len(SIGNATURE.write(bytes(64)))


def without_signature(raw: bytes) -> bytes:
    """Canonical bytes of a signed record without its last item; `raw` was decoded before.

    A record has fewer than 24 items, so its list head is one byte.
    """
    return bytes((raw[0] - 1,)) + raw[1:-_SIGNATURE_ITEM_BYTES]
