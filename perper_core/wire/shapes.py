"""How fields of Python shapes and of protobuf messages become each other (pure): the table that
`codec` is made of, field by field.

Knows no message type: it works on whatever has attributes of the right names.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from perper_core.values import decode_value, encode_value

Message = Any
"""A protobuf message: its attributes are its fields."""
Put = Callable[[Message, str, Any], None]
Take = Callable[[Message, str], Any]


class Field(NamedTuple):
    """One field: its name on both sides, and both directions."""

    name: str
    put: Put
    take: Take


class Shape(NamedTuple):
    """A Python type whose constructor takes the fields in this order."""

    kind: Callable[..., Any]
    fields: tuple[Field, ...]

    def fill(self, message: Message, thing: Any) -> None:
        """Write `thing` into `message`."""
        for field in self.fields:
            field.put(message, field.name, getattr(thing, field.name))

    def read(self, message: Message) -> Any:
        """The thing that `message` says."""
        return self.kind(*[field.take(message, field.name) for field in self.fields])


def plain(*names: str) -> tuple[Field, ...]:
    """Ints, floats, bools, text, bytes as they are."""
    return tuple(Field(name, setattr, getattr) for name in names)


def value(name: str) -> Field:
    """A Value, as its encoding."""
    return Field(name, _put_value, _take_value)


def optional(name: str) -> Field:
    """A scalar or None."""
    return Field(name, _put_optional, _take_optional)


def many(name: str) -> Field:
    """A sequence of scalars."""
    return Field(name, _put_many, _take_many)


def many_listed(name: str) -> Field:
    """A sequence of scalars, read as a list: what batches of a local fabric hold."""
    return Field(name, _put_many, lambda message, field: list(getattr(message, field)))


def text_enum(name: str, kind: type[StrEnum]) -> Field:
    """A StrEnum as its text; ValueError for a text it does not have."""
    return Field(name, _put_text, lambda message, field: kind(getattr(message, field)))


def text_enums(name: str, kind: type[StrEnum]) -> Field:
    """A sequence of StrEnums."""
    return Field(
        name, _put_texts, lambda message, field: [kind(text) for text in getattr(message, field)]
    )


def nested(name: str, shape: Shape) -> Field:
    """Another shape, always there."""

    def put(message: Message, field: str, thing: Any) -> None:
        submessage = getattr(message, field)
        submessage.SetInParent()
        shape.fill(submessage, thing)

    return Field(name, put, lambda message, field: shape.read(getattr(message, field)))


def nested_optional(name: str, shape: Shape) -> Field:
    """Another shape or None."""

    def put(message: Message, field: str, thing: Any) -> None:
        if thing is not None:
            submessage = getattr(message, field)
            submessage.SetInParent()
            shape.fill(submessage, thing)

    def take(message: Message, field: str) -> Any:
        return shape.read(getattr(message, field)) if message.HasField(field) else None

    return Field(name, put, take)


def nested_many(name: str, shape: Shape) -> Field:
    """A sequence of another shape."""

    def put(message: Message, field: str, things: Sequence[Any]) -> None:
        repeated = getattr(message, field)
        for thing in things:
            shape.fill(repeated.add(), thing)

    return Field(
        name,
        put,
        lambda message, field: tuple(shape.read(each) for each in getattr(message, field)),
    )


def details(name: str) -> Field:
    """Named small facts: ints or text."""
    return Field(name, _put_details, _take_details)


def _put_value(message: Message, name: str, thing: Any) -> None:
    setattr(message, name, encode_value(thing))


def _take_value(message: Message, name: str) -> Any:
    return decode_value(getattr(message, name))


def _put_optional(message: Message, name: str, thing: Any) -> None:
    if thing is not None:
        setattr(message, name, thing)


def _take_optional(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _put_many(message: Message, name: str, things: Sequence[Any]) -> None:
    getattr(message, name).extend(things)


def _take_many(message: Message, name: str) -> Any:
    return tuple(getattr(message, name))


def _put_text(message: Message, name: str, thing: Any) -> None:
    setattr(message, name, str(thing))


def _put_texts(message: Message, name: str, things: Sequence[Any]) -> None:
    getattr(message, name).extend(str(thing) for thing in things)


def _put_details(message: Message, name: str, facts: Sequence[tuple[str, int | str]]) -> None:
    repeated = getattr(message, name)
    for fact_name, fact in facts:
        if isinstance(fact, str):
            repeated.add(name=fact_name, text=fact)
        else:
            repeated.add(name=fact_name, number=fact)


def _take_details(message: Message, name: str) -> Any:
    return tuple(
        (fact.name, fact.text if fact.WhichOneof("fact") == "text" else fact.number)
        for fact in getattr(message, name)
    )
