"""Values of calls and states, and their encoding (pure). Streams carry raw bytes, not values.

| type    | Python                | tag | payload                                              |
|---------|-----------------------|-----|------------------------------------------------------|
| null    | None                  | `n` |                                                      |
| bool    | bool                  | `t` / `f` |                                                |
| i64     | int in [-2^63, 2^63)  | `i` | 8 bytes, two's complement                            |
| f64     | float                 | `d` | 8 bytes, IEEE 754                                    |
| str     | str                   | `s` | u32 length, UTF-8                                    |
| bytes   | bytes                 | `b` | u32 length, bytes                                    |
| uuid    | uuid.UUID             | `u` | 16 bytes                                             |
| time    | aware datetime        | `T` | i64 microseconds since 1970 UTC                      |
| decimal | finite Decimal        | `D` | u32 length, ASCII as `str(Decimal)` writes it        |
| list    | list, tuple           | `l` | u32 count, values (read back as a list)              |
| map     | dict                  | `m` | u32 count, then key, value; keys are scalars, unique |
| record  | Record                | `r` | name as str payload, then a map's payload, str keys  |

All numbers are big-endian. A map keeps its order of insertion. The encoding is not canonical on
purpose (NaN, -0.0 and order are kept); what must be hashed belongs to `consensus`.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from uuid import UUID

from perper_core.errors import Invalid, TooLarge
from perper_core.limits import VALUE_BYTES_MAX, VALUE_DEPTH_MAX


@dataclass(frozen=True, slots=True)
class Record:
    """A named tuple of fields: what v1 calls an object of a type."""

    name: str
    fields: Mapping[str, "Value"] = field(default_factory=dict)


Scalar = None | bool | int | float | str | bytes | UUID | datetime | Decimal
Value = Scalar | list["Value"] | tuple["Value", ...] | dict[Scalar, "Value"] | Record

_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_F64 = struct.Struct(">d")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_I64_MIN, _I64_MAX = -(1 << 63), (1 << 63) - 1


def encode_value(value: Value) -> bytes:
    """The bytes of a value. Raises Invalid for a foreign type, TooLarge beyond 1 MiB or depth
    32."""
    parts: list[bytes] = []
    _encode(value, parts, 0)
    raw = b"".join(parts)
    if len(raw) > VALUE_BYTES_MAX:
        raise TooLarge("value too large", bytes=len(raw), bytes_max=VALUE_BYTES_MAX)
    return raw


def decode_value(raw: bytes) -> Value:
    """The value of bytes that `encode_value` wrote. Raises Invalid on anything else."""
    if len(raw) > VALUE_BYTES_MAX:
        raise TooLarge("value too large", bytes=len(raw), bytes_max=VALUE_BYTES_MAX)
    try:
        value, end = _decode(raw, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError, InvalidOperation, OverflowError) as error:
        raise Invalid(f"not a value: {error}") from error
    if end != len(raw):
        raise Invalid("not a value: bytes behind its end")
    return value


def _sized(raw: bytes) -> bytes:
    return _U32.pack(len(raw)) + raw


def _text(text: str) -> bytes:
    try:
        return _sized(text.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"text is not UTF-8: {error}") from error


def _encode(value: Value, parts: list[bytes], depth: int) -> None:
    if depth > VALUE_DEPTH_MAX:
        raise TooLarge("value too deep", depth_max=VALUE_DEPTH_MAX)
    match value:
        case list() | tuple():
            parts.append(b"l" + _U32.pack(len(value)))
            for element in value:
                _encode(element, parts, depth + 1)
        case dict():
            parts.append(b"m" + _U32.pack(len(value)))
            for key, element in value.items():
                parts.append(_scalar(key))
                _encode(element, parts, depth + 1)
        case Record():
            parts.append(b"r" + _text(value.name) + _U32.pack(len(value.fields)))
            for name, element in value.fields.items():
                if not isinstance(name, str):
                    raise Invalid("a record's fields have text names")
                parts.append(b"s" + _text(name))
                _encode(element, parts, depth + 1)
        case _:
            parts.append(_scalar(value))


def _scalar(value: Scalar) -> bytes:
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case int():
            if not _I64_MIN <= value <= _I64_MAX:
                raise Invalid("an int must fit 64 bits: use a decimal or bytes")
            return b"i" + _I64.pack(value)
        case str():
            return b"s" + _text(value)
        case bytes():
            return b"b" + _sized(value)
        case float():
            return b"d" + _F64.pack(value)
        case UUID():
            return b"u" + value.bytes
        case datetime():
            if value.tzinfo is None:
                raise Invalid("a time needs its zone")
            return b"T" + _I64.pack((value - _EPOCH) // _MICROSECOND)
        case Decimal():
            if not value.is_finite():
                raise Invalid("a decimal must be finite")
            return b"D" + _sized(str(value).encode())
        case _:
            raise Invalid(f"{type(value).__name__} is not a fabric value")


def _decode(raw: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth > VALUE_DEPTH_MAX:
        raise TooLarge("value too deep", depth_max=VALUE_DEPTH_MAX)
    tag = raw[at : at + 1]
    if tag == b"l":
        count, at = _count(raw, at + 1)
        elements: list[Value] = []
        for _ in range(count):
            element, at = _decode(raw, at, depth + 1)
            elements.append(element)
        return elements, at
    if tag == b"m":
        return _decode_map(raw, at + 1, depth)
    if tag == b"r":
        name, at = _take(raw, at + 1)
        entries, at = _decode_map(raw, at, depth)
        if not all(isinstance(key, str) for key in entries):
            raise Invalid("a record's fields have text names")
        return Record(name.decode(), {str(key): entry for key, entry in entries.items()}), at
    return _decode_scalar(raw, at)


def _decode_map(raw: bytes, at: int, depth: int) -> tuple[dict[Scalar, Value], int]:
    count, at = _count(raw, at)
    entries: dict[Scalar, Value] = {}
    for _ in range(count):
        key, at = _decode_scalar(raw, at)
        entry, at = _decode(raw, at, depth + 1)
        if key in entries:
            raise Invalid("a map's key comes twice")
        entries[key] = entry
    return entries, at


def _count(raw: bytes, at: int) -> tuple[int, int]:
    (count,) = _U32.unpack_from(raw, at)
    if count > len(raw) - at:  # each element takes a byte at least: refuse before allocating
        raise Invalid("not a value: count beyond its bytes")
    return count, at + 4


def _take(raw: bytes, at: int) -> tuple[bytes, int]:
    (size,) = _U32.unpack_from(raw, at)
    end = at + 4 + size
    if end > len(raw):
        raise Invalid("not a value: it ends early")
    return raw[at + 4 : end], end


def _decode_scalar(raw: bytes, at: int) -> tuple[Scalar, int]:
    tag, at = raw[at : at + 1], at + 1
    match tag:
        case b"n":
            return None, at
        case b"t":
            return True, at
        case b"f":
            return False, at
        case b"i":
            return _I64.unpack_from(raw, at)[0], at + 8
        case b"d":
            return _F64.unpack_from(raw, at)[0], at + 8
        case b"T":
            return _EPOCH + _MICROSECOND * _I64.unpack_from(raw, at)[0], at + 8
        case b"u":
            if at + 16 > len(raw):
                raise Invalid("not a value: it ends early")
            return UUID(bytes=raw[at : at + 16]), at + 16
        case b"s":
            text, at = _take(raw, at)
            return text.decode(), at
        case b"b":
            return _take(raw, at)
        case b"D":
            digits, at = _take(raw, at)
            number = Decimal(digits.decode("ascii"))
            if not number.is_finite():
                raise Invalid("a decimal must be finite")
            return number, at
        case _:
            raise Invalid(f"not a value: tag {tag!r}")
