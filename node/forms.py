"""Typed values at the edges: text and JSON ⇄ canonical values, by the type texts of a schema.

`int`, `Address`, `list[int]`, … as `describe` prints them. Large whole numbers are text in JSON,
addresses their text form, bytes `{"/": {"bytes": base64}}` (wire: API). Knows no agent.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.encoding import Value
from consensus.errors import TextError
from consensus.ids import (
    ACCOUNT_TYPE,
    HASH_BYTES,
    ID_BYTES,
    hash_from_text,
    hash_text,
    id_from_text,
    id_text,
    key_from_text,
)
from node.errors import MessageInvalid, suggestion

JSON_INT_MAX: Final = 2**53 - 1  # what every JSON reader keeps exactly
_SMALL: Final = 2**63
INT_BITS_MAX: Final = 256
INT_DIGITS_MAX: Final = 80
SHOWN_MAX: Final = 60  # characters of a value in the words of its refusal
Resolve = Callable[[str], bytes]
Name = Callable[[bytes], str]


class Misfit(Exception):
    """A value that is not of the wanted type; the text says what was expected."""


# ---- untyped ------------------------------------------------------------------------------------


def json_int(number: int) -> int | str:
    """A number that every JSON reader keeps: text above 2^53."""
    return number if -JSON_INT_MAX <= number <= JSON_INT_MAX else str(number)


def json_bytes(raw: bytes) -> dict[str, dict[str, str]]:
    """`{"/": {"bytes": base64}}`, without padding (DAG-JSON)."""
    return {"/": {"bytes": b64encode(raw).decode().rstrip("=")}}


def base64_bytes(text: str) -> bytes:
    """Bytes of base64 with or without padding. Raises Misfit."""
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise Misfit("expected base64") from error


def json_value(value: Value) -> Any:
    """JSON of any canonical value, without a type to go by."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return json_int(value)
        case bytes():
            return json_bytes(value)
        case dict():
            return {key: json_value(item) for key, item in value.items()}
    return [json_value(item) for item in value]


# ---- typed --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Edge:
    """What the edge knows of addresses: `resolve` reads a text, `name` writes 32 bytes."""

    resolve: Resolve
    name: Name


@dataclass(frozen=True, slots=True)
class Form:
    """One type. `read` takes JSON, `parse` takes text of a command line or query; both raise
    Misfit and give a canonical value. `show` is the way back to JSON."""

    name: str
    read: Callable[[Any], Value]
    show: Callable[[Value], Any]
    parse: Callable[[str], Value]

    def text(self, value: Value) -> str:
        """Text that `parse` reads back."""
        shown = self.show(value)
        if isinstance(shown, bool) or not isinstance(shown, str | int):
            return json.dumps(shown, separators=(",", ":"))
        return str(shown)


def read_address(text: str) -> bytes:
    """32 bytes of `apx1…` (an account) or of base32 (an agent). Raises Misfit."""
    try:
        if text.startswith("apx1"):
            return key_from_text(text, ACCOUNT_TYPE)
        return hash_from_text(text)
    except TextError as error:
        raise Misfit(f"expected an address: {error}") from error


def form(text: str, edge: Edge) -> Form:
    """The form of a type text. Raises MessageInvalid for one that this version does not know."""
    text = text.strip()
    if text.endswith(" | None"):
        return _optional(form(text[: -len(" | None")], edge))
    name, bracket, inner = text.partition("[")
    if bracket and inner.endswith("]"):
        inside = [form(part, edge) for part in _parts(inner[:-1])]
        if name == "list" and len(inside) == 1:
            return _list(inside[0])
        if name == "dict" and len(inside) == 2:
            return _dict(*inside)
        if name == "tuple":
            return _tuple(inside)
    if name in _SCALARS:
        return _SCALARS[name]
    if name == "Address":
        return _address(edge)
    if name == "Reference":
        return _reference(edge)
    return _plain(text)


def _parts(text: str) -> list[str]:
    """The arguments between brackets, split at the commas of the outermost level."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _from_json(read: Callable[[Any], Value]) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Misfit("expected JSON") from error
        return read(found)

    return parse


def _read_int(value: Any) -> Value:
    if isinstance(value, str):
        return _parse_int(value)
    if type(value) is not int:
        raise Misfit("expected a whole number")
    return _encoded(value)


def _parse_int(text: str) -> Value:
    digits = text.removeprefix("-").replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > INT_DIGITS_MAX:
        raise Misfit("expected a whole number")
    try:
        return _encoded(int(text))
    except ValueError as error:  # `_` only stands between digits
        raise Misfit("expected a whole number") from error


def _encoded(number: int) -> Value:
    # As the SDK encodes it: whole numbers beyond 64 bits travel as [sign, magnitude].
    if -_SMALL <= number < _SMALL:
        return number
    size = abs(number).bit_length()
    if size > INT_BITS_MAX:
        raise Misfit(f"expected a whole number below 2^{INT_BITS_MAX}")
    return [1 if number > 0 else -1, abs(number).to_bytes((size + 7) // 8, "big")]


def _show_int(value: Value) -> int | str:
    if isinstance(value, list):
        return str(value[0] * int.from_bytes(value[1], "big"))
    return json_int(value)


def _read_bool(value: Any) -> Value:
    if type(value) is not bool:
        raise Misfit("expected true or false")
    return value


def _parse_bool(text: str) -> Value:
    words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
    if text.lower() not in words:
        raise Misfit("expected true or false")
    return words[text.lower()]


def _read_str(value: Any) -> Value:
    if type(value) is not str:
        raise Misfit("expected text")
    return value


def _read_bytes(value: Any) -> Value:
    match value:
        case {"/": {"bytes": str(text)}} if len(value) == 1:
            return base64_bytes(text)
    raise Misfit('expected bytes: {"/": {"bytes": base64}}')


def _parse_bytes(text: str) -> Value:
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError as error:
            raise Misfit("expected hex digits after 0x") from error
    if text.startswith("{"):
        return _from_json(_read_bytes)(text)
    raise Misfit("expected bytes: 0x and hex digits")


def _read_none(value: Any) -> Value:
    if value is not None:
        raise Misfit("expected null")
    return None


def _parse_none(text: str) -> Value:
    if text not in ("", "null", "none"):
        raise Misfit("expected null")
    return None


_SCALARS: Final = {
    "int": Form("int", _read_int, _show_int, _parse_int),
    "bool": Form("bool", _read_bool, json_value, _parse_bool),
    "str": Form("str", _read_str, json_value, lambda text: text),
    "bytes": Form("bytes", _read_bytes, json_value, _parse_bytes),
    "None": Form("None", _read_none, json_value, _parse_none),
}


def _address(edge: Edge) -> Form:
    def read(value: Any) -> Value:
        if isinstance(value, str):
            return edge.resolve(value)
        raw = _read_bytes(value)
        if len(raw) != HASH_BYTES:
            raise Misfit(f"expected an address of {HASH_BYTES} bytes")
        return raw

    return Form("Address", read, edge.name, edge.resolve)


def _reference(edge: Edge) -> Form:
    """`[chain/]agent[#capability]`; no chain: this one."""

    def parse(text: str) -> Value:
        rest, mark, capability = text.partition("#")
        chain, slash, agent = rest.rpartition("/")
        try:
            return [
                id_from_text(chain) if slash else None,
                edge.resolve(agent),
                hash_from_text(capability) if mark else None,
            ]
        except TextError as error:
            raise Misfit(f"expected a reference: {error}") from error

    def show(value: Value) -> str:
        chain, agent, capability = value
        assert chain is None or len(chain) == ID_BYTES, "checked by the agent's type"
        start = f"{id_text(chain)}/" if chain is not None else ""
        return start + edge.name(agent) + (f"#{hash_text(capability)}" if capability else "")

    def read(value: Any) -> Value:
        if not isinstance(value, str):
            raise Misfit("expected a reference as text")
        return parse(value)

    return Form("Reference", read, show, parse)


def _optional(inner: Form) -> Form:
    def parse(text: str) -> Value:
        return None if text == "null" else inner.parse(text)

    return Form(
        f"{inner.name} | None",
        lambda value: None if value is None else inner.read(value),
        lambda value: None if value is None else inner.show(value),
        parse,
    )


def _listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit(f"expected {name} as a JSON list")
    return value


def _list(inner: Form) -> Form:
    name = f"list[{inner.name}]"

    def read(value: Any) -> Value:
        return [inner.read(item) for item in _listed(value, name)]

    return Form(name, read, lambda value: [inner.show(item) for item in value], _from_json(read))


def _tuple(inner: Sequence[Form]) -> Form:
    name = f"tuple[{', '.join(each.name for each in inner)}]"

    def read(value: Any) -> Value:
        items = _listed(value, name)
        if len(items) != len(inner):
            raise Misfit(f"expected {name}: {len(inner)} items")
        return [each.read(item) for each, item in zip(inner, items, strict=True)]

    def show(value: Value) -> Any:
        return [each.show(item) for each, item in zip(inner, value, strict=True)]

    return Form(name, read, show, _from_json(read))


def _dict(key: Form, inner: Form) -> Form:
    """A JSON object where keys have text, which is always: they are scalars."""
    name = f"dict[{key.name}, {inner.name}]"

    def read(value: Any) -> Value:
        if not isinstance(value, dict):
            raise Misfit(f"expected {name} as a JSON object")
        return [[key.parse(word), inner.read(item)] for word, item in value.items()]

    def show(value: Value) -> Any:
        return {key.text(word): inner.show(item) for word, item in value}

    return Form(name, read, show, _from_json(read))


def _plain(name: str) -> Form:
    """A record, known by its name alone: the list of its values; bytes in their JSON form."""

    def read(value: Any) -> Value:
        match value:
            case {"/": {"bytes": str()}}:
                return _read_bytes(value)
            case list():
                return [read(item) for item in value]
            case None | bool() | str():
                return value
            case int():
                return _encoded(value)
        raise Misfit(f"expected {name} as a JSON list of its values")

    return Form(name, read, json_value, _from_json(read))


# ---- named arguments ----------------------------------------------------------------------------


def read_named(
    given: Mapping[str, str], declared: Mapping[str, str], edge: Edge, *, what: str
) -> dict[str, Value]:
    """Canonical values of `k=v` texts. Raises MessageInvalid for an unknown name or wrong type."""
    found: dict[str, Value] = {}
    for name, text in given.items():
        if name not in declared:
            known = ", ".join(f"{key}: {kind}" for key, kind in declared.items()) or "nothing"
            near = suggestion(name, tuple(declared))
            raise MessageInvalid(f"{what} has no {name!r}{near}; it takes {known}")
        try:
            found[name] = form(declared[name], edge).parse(text)
        except Misfit as error:
            shown = text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
            raise MessageInvalid(f"{what}, {name}={shown}: {error}") from error
    return found
