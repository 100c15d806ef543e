"""Messages and records: classes read into named, typed fields (execution §2, §3).

Knows how values become instances and back; knows neither agents nor when anything is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform, get_type_hints

from consensus.encoding import Value
from node.sdk.fields import RECORD, AgentError, FieldError, FieldType, field_type

REQUIRED: Any = object()  # a field or parameter without default
FIELDS_MAX = 64
NAME_MAX = 64

_C = TypeVar("_C", bound=type)


class BadField(FieldError):
    """A field that is unknown, missing or of another type; `field` names it."""

    def __init__(self, field: str, cause: str) -> None:
        super().__init__(f"{field}: {cause}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared field or parameter."""

    name: str
    type: FieldType
    default: Any = REQUIRED

    def initial(self) -> Any:
        """The default, copied per instance."""
        return self.type.copy(self.default)


def check_name(name: str) -> None:
    """Raises AgentError for a name that cannot be a key of the state and of a message."""
    if not name.isascii() or len(name) > NAME_MAX:
        raise AgentError(f"{name}: names are ASCII, of at most {NAME_MAX} letters")


def declare(name: str, annotation: Any, default: Any) -> Declared:
    check_name(name)
    declared = Declared(name, field_type(annotation), default)
    if default is not REQUIRED:
        try:
            declared.initial()
        except FieldError as error:
            raise AgentError(f"{name}: the default is of another type: {error}") from None
    return declared


def hints_of(target: Any, what: str) -> dict[str, Any]:
    try:
        hints: dict[str, Any] = get_type_hints(target)
        return hints
    except NameError as error:
        raise AgentError(f"{what}: {error}") from None


def read_arguments(declared: Mapping[str, Declared], values: Mapping[str, Value]) -> dict[str, Any]:
    """Python values of decoded ones, defaults filled in. Raises BadField."""
    for name in values:
        if name not in declared:
            raise BadField(name, "unknown")
    found: dict[str, Any] = {}
    for name, each in declared.items():
        if name in values:
            try:
                found[name] = each.type.from_value(values[name])
            except FieldError as error:
                raise BadField(name, str(error)) from None
        elif each.default is REQUIRED:
            raise BadField(name, "missing")
        else:
            found[name] = each.initial()
    return found


# ---- messages and records -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a message or record class, and its two encodings."""

    name: str
    kind: type
    declared: dict[str, Declared]
    inner: bool  # a record, which may be a field of others

    def to_map(self, item: Any) -> dict[str, Value]:
        """{field: value}, as messages and events travel. Raises BadField."""
        return {name: self._value(item, each) for name, each in self.declared.items()}

    def from_map(self, values: Mapping[str, Value]) -> Any:
        """An instance. Raises BadField."""
        return self.kind(**read_arguments(self.declared, values))

    def to_list(self, item: Any) -> list[Value]:
        """The values in the order of declaration, as records stand inside fields."""
        if type(item) is not self.kind:
            raise FieldError(f"expected {self.name}")
        return [self._value(item, each) for each in self.declared.values()]

    def from_list(self, values: Value) -> Any:
        if type(values) is not list or len(values) != len(self.declared):
            raise FieldError(f"expected {self.name}")
        return self.from_map(dict(zip(self.declared, values, strict=True)))

    def _value(self, item: Any, each: Declared) -> Value:
        try:
            return each.type.to_value(getattr(item, each.name))
        except FieldError as error:
            raise BadField(each.name, str(error)) from None


def _shaped(cls: _C, *, inner: bool) -> _C:
    if cls.__bases__ != (object,):
        raise AgentError(f"{cls.__name__}: messages and records do not inherit")
    check_name(cls.__name__)
    declared: dict[str, Declared] = {}
    for name, annotation in hints_of(cls, cls.__name__).items():
        declared[name] = each = declare(name, annotation, getattr(cls, name, REQUIRED))
        if each.default is not REQUIRED and not each.type.plain:
            setattr(cls, name, field(default_factory=each.initial))
    if len(declared) > FIELDS_MAX:
        raise AgentError(f"{cls.__name__}: more than {FIELDS_MAX} fields")
    made: Any = dataclass(kw_only=True)(cls)
    setattr(made, RECORD, Shape(cls.__name__, made, declared, inner))
    return cls


@dataclass_transform(kw_only_default=True)
def message(cls: _C) -> _C:
    """Class decorator: something that can be sent or published. Arguments by keyword only."""
    return _shaped(cls, inner=False)


@dataclass_transform(kw_only_default=True)
def record(cls: _C) -> _C:
    """Class decorator: a value with named fields that may be a field itself."""
    return _shaped(cls, inner=True)


def shape_of(kind: Any) -> Shape:
    """The shape of a message or record class, or of an instance. Raises AgentError."""
    shape = getattr(kind, RECORD, None)
    if not isinstance(shape, Shape):
        raise AgentError(f"{kind!r} is neither a message nor a record")
    return shape
