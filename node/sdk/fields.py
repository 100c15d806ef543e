"""The types a field, parameter or return may have, and their one encoding (execution §2, §3).

bool int str bytes None `T | None` list[T] dict[K, T] tuple[…] record Address Reference; no more.
A type is checked at load and on every store. Knows neither agents nor messages: see `agent`.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from consensus.encoding import Value

ADDRESS_BYTES = 32
CHAIN_BYTES = 36
INT_BITS_MAX = 256
_SMALL = 2**63  # a CBOR int inside [-2^63, 2^63), else [sign, magnitude]
RECORD = "__apocryph_shape__"


class AgentError(TypeError):
    """An agent, message or record whose declaration is outside the language: the author's error."""


class FieldError(Exception):
    """A value that is not of its declared type; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Address:
    """An account or an agent, 32 bytes: comparable, a legal key, gives no right."""

    raw: bytes

    def __post_init__(self) -> None:
        if type(self.raw) is not bytes or len(self.raw) != ADDRESS_BYTES:
            raise FieldError(f"expected an address of {ADDRESS_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Reference:
    """The right to send to an agent; null `chain`: this one, null `capability`: the public one."""

    agent: Address
    chain: bytes | None = None
    capability: bytes | None = None


@dataclass(frozen=True, slots=True)
class FieldType:
    """One declared type.

    `to_value` checks a Python value and gives what is encoded; `from_value` checks what was
    decoded and gives the Python value. Both raise FieldError. `plain`: immutable, so never copied.
    """

    name: str
    to_value: Callable[[Any], Value]
    from_value: Callable[[Value], Any]
    plain: bool = True

    def copy(self, value: Any) -> Any:
        """The value checked, and as a copy: two paths never share an object (execution §3)."""
        encoded = self.to_value(value)
        return value if self.plain else self.from_value(encoded)


# ---- scalars ------------------------------------------------------------------------------------


def _exactly(kind: type, name: str) -> FieldType:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise FieldError(f"expected {name}")
        return value

    return FieldType(name, check, check)


def _int_to_value(value: Any) -> Value:
    if type(value) is not int:  # bool is not int
        raise FieldError("expected int")
    if -_SMALL <= value < _SMALL:
        return value
    magnitude = abs(value)
    if magnitude.bit_length() > INT_BITS_MAX:
        raise FieldError(f"expected int below 2^{INT_BITS_MAX}")
    return [1 if value > 0 else -1, magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")]


def _int_from_value(value: Value) -> int:
    if type(value) is int and -_SMALL <= value < _SMALL:
        return value
    if type(value) is list and len(value) == 2:
        sign, raw = value
        if type(sign) is int and sign in (1, -1) and type(raw) is bytes and raw:
            number = sign * int.from_bytes(raw, "big")
            if not -_SMALL <= number < _SMALL and _int_to_value(number) == value:
                return number
    raise FieldError("expected int")


def _address_to_value(value: Any) -> bytes:
    if type(value) is not Address:
        raise FieldError("expected Address")
    return value.raw


def _address_from_value(value: Value) -> Address:
    if type(value) is not bytes or len(value) != ADDRESS_BYTES:
        raise FieldError("expected Address")
    return Address(value)


def _blob_or_none(value: Any, length: int) -> bool:
    return value is None or (type(value) is bytes and len(value) == length)


def _reference_to_value(value: Any) -> Value:
    if type(value) is not Reference or type(value.agent) is not Address:
        raise FieldError("expected Reference")
    if not _blob_or_none(value.chain, CHAIN_BYTES):
        raise FieldError("expected Reference")
    if not _blob_or_none(value.capability, ADDRESS_BYTES):
        raise FieldError("expected Reference")
    return [value.chain, value.agent.raw, value.capability]


def _reference_from_value(value: Value) -> Reference:
    if type(value) is not list or len(value) != 3:
        raise FieldError("expected Reference")
    reference = Reference(_address_from_value(value[1]), value[0], value[2])
    _reference_to_value(reference)
    return reference


BOOL = _exactly(bool, "bool")
STR = _exactly(str, "str")
BYTES = _exactly(bytes, "bytes")
NONE = _exactly(type(None), "None")
INT = FieldType("int", _int_to_value, _int_from_value)
ADDRESS = FieldType("Address", _address_to_value, _address_from_value)
REFERENCE = FieldType("Reference", _reference_to_value, _reference_from_value)
_SCALARS: dict[Any, FieldType] = {
    bool: BOOL,
    int: INT,
    str: STR,
    bytes: BYTES,
    type(None): NONE,
    None: NONE,
    Address: ADDRESS,
    Reference: REFERENCE,
}
_KEYS = (str, bytes, int, Address)


# ---- containers ---------------------------------------------------------------------------------


def _optional(inner: FieldType) -> FieldType:
    return FieldType(
        f"{inner.name} | None",
        lambda value: None if value is None else inner.to_value(value),
        lambda value: None if value is None else inner.from_value(value),
        inner.plain,
    )


def _list(inner: FieldType) -> FieldType:
    name = f"list[{inner.name}]"

    def of(value: Any, item: Callable[[Any], Any]) -> list[Any]:
        if type(value) is not list:
            raise FieldError(f"expected {name}")
        return [item(each) for each in value]

    return FieldType(
        name,
        lambda value: of(value, inner.to_value),
        lambda value: of(value, inner.from_value),
        plain=False,
    )


def _tuple(inner: tuple[FieldType, ...]) -> FieldType:
    name = f"tuple[{', '.join(each.name for each in inner)}]"

    def check(value: Any, kind: type) -> None:
        if type(value) is not kind or len(value) != len(inner):  # type: ignore[arg-type]
            raise FieldError(f"expected {name}")

    def to_value(value: Any) -> Value:
        check(value, tuple)
        return [each.to_value(item) for each, item in zip(inner, value, strict=True)]

    def from_value(value: Value) -> Any:
        check(value, list)
        return tuple([each.from_value(item) for each, item in zip(inner, value, strict=True)])

    return FieldType(name, to_value, from_value, all(each.plain for each in inner))


def _dict(key: FieldType, inner: FieldType) -> FieldType:
    """A list of [key, value] in insertion order (execution §3)."""
    name = f"dict[{key.name}, {inner.name}]"

    def to_value(value: Any) -> Value:
        if type(value) is not dict:
            raise FieldError(f"expected {name}")
        return [[key.to_value(name), inner.to_value(item)] for name, item in value.items()]

    def from_value(value: Value) -> Any:
        if type(value) is not list:
            raise FieldError(f"expected {name}")
        found: dict[Any, Any] = {}
        for pair in value:
            if type(pair) is not list or len(pair) != 2:
                raise FieldError(f"expected {name}")
            found[key.from_value(pair[0])] = inner.from_value(pair[1])
        if len(found) != len(value):
            raise FieldError("a key twice")
        return found

    return FieldType(name, to_value, from_value, plain=False)


def field_type(annotation: Any) -> FieldType:
    """The declared type of an annotation. Raises AgentError for what the language does not have."""
    try:
        scalar = _SCALARS.get(annotation)
    except TypeError:
        scalar = None
    if scalar is not None:
        return scalar
    shape = getattr(annotation, RECORD, None)
    if shape is not None:
        if not shape.inner:
            raise AgentError(f"{shape.name} is a message: only records may be fields")
        return FieldType(shape.name, shape.to_list, shape.from_list, plain=False)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        others = [item for item in arguments if item is not type(None)]
        if len(others) == 1 and len(arguments) == 2:
            return _optional(field_type(others[0]))
    elif origin is list and len(arguments) == 1:
        return _list(field_type(arguments[0]))
    elif origin is dict and len(arguments) == 2 and arguments[0] in _KEYS:
        return _dict(field_type(arguments[0]), field_type(arguments[1]))
    elif origin is tuple and arguments and Ellipsis not in arguments:
        return _tuple(tuple([field_type(item) for item in arguments]))
    raise AgentError(f"{annotation!r} is no type of the language")
