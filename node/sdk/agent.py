"""What an author declares: `Agent`, `@on`, `@view` (execution §1, §2).

The public face: the same file runs in the native tier now and compiled later. Knows how a class
becomes fields, handlers and views; not how, when or on which state they run.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from consensus.encoding import Value
from node.sdk.context import Context
from node.sdk.fields import AgentError, FieldType, field_type
from node.sdk.shapes import FIELDS_MAX, REQUIRED, Declared, Shape, declare, hints_of, shape_of

_ON = "__apocryph_on__"
_VIEW = "__apocryph_view__"

_F = TypeVar("_F", bound=Callable[..., Any])


def on(kind: type) -> Callable[[_F], _F]:
    """Method decorator: the handler of one message type, `def name(self, ctx, m)`."""
    shape = shape_of(kind)

    def mark(handler: _F) -> _F:
        setattr(handler, _ON, shape)
        return handler

    return mark


def view(method: _F) -> _F:
    """Method decorator: a question answered from the agent's state, without effects."""
    setattr(method, _VIEW, True)
    return method


@dataclass(frozen=True, slots=True)
class Handler:
    shape: Shape
    call: Callable[[Any, Context, Any], None]


@dataclass(frozen=True, slots=True)
class ViewMethod:
    call: Callable[..., Any]
    declared: dict[str, Declared]
    returns: FieldType


@dataclass(frozen=True, slots=True)
class Form:
    """An agent class read: state fields, parameters of `init`, handlers by message type, views."""

    declared: dict[str, Declared]
    init: dict[str, Declared]
    handlers: dict[str, Handler]
    views: dict[str, ViewMethod]

    def describe(self) -> dict[str, Value]:
        """Names of messages, views, parameters and their types as text, for clients."""

        def names(declared: Mapping[str, Declared]) -> dict[str, Value]:
            return {name: each.type.name for name, each in declared.items()}

        return {
            "fields": names(self.declared),
            "init": names(self.init),
            "messages": {key: names(each.shape.declared) for key, each in self.handlers.items()},
            "views": {
                key: {"arguments": names(each.declared), "returns": each.returns.name}
                for key, each in self.views.items()
            },
        }


def _parameters(method: Any, what: str, *, skip: int) -> dict[str, Declared]:
    hints = hints_of(method, what)
    found: dict[str, Declared] = {}
    for parameter in list(inspect.signature(method).parameters.values())[skip:]:
        if parameter.name not in hints or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise AgentError(f"{what}: parameter {parameter.name} needs a name and a type")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        found[parameter.name] = declare(parameter.name, hints[parameter.name], default)
    return found


def _read(cls: type) -> Form:
    base = cls.__mro__[1].__dict__.get("form")
    if base is not None and (base.declared or base.init or base.handlers or base.views):
        raise AgentError(f"{cls.__name__}: agents do not inherit from one another")
    declared: dict[str, Declared] = {}
    hints = hints_of(cls, cls.__name__)
    for name in inspect.get_annotations(cls):
        if name.startswith("_"):
            raise AgentError(f"{cls.__name__}.{name}: fields have public names")
        declared[name] = declare(name, hints[name], cls.__dict__.get(name, REQUIRED))
    if len(declared) > FIELDS_MAX:
        raise AgentError(f"{cls.__name__}: more than {FIELDS_MAX} fields")
    handlers: dict[str, Handler] = {}
    views: dict[str, ViewMethod] = {}
    for name, member in cls.__dict__.items():
        what = f"{cls.__name__}.{name}"
        if (shape := getattr(member, _ON, None)) is not None:
            if shape.name in handlers or len(inspect.signature(member).parameters) != 3:
                raise AgentError(f"{what}: one handler a message, as (self, ctx, m)")
            handlers[shape.name] = Handler(shape, member)
        elif getattr(member, _VIEW, False):
            returns = hints_of(member, what).get("return", REQUIRED)
            if returns is REQUIRED:
                raise AgentError(f"{what}: a view declares what it returns")
            views[name] = ViewMethod(member, _parameters(member, what, skip=1), field_type(returns))
    init = cls.__dict__.get("init")
    parameters = {} if init is None else _parameters(init, f"{cls.__name__}.init", skip=2)
    return Form(declared, parameters, handlers, views)


class Agent:
    """Base of every agent: deterministic code and state, driven only by messages.

    Annotated names are the state, checked on every store. `init(self, ctx, …)` runs once.
    """

    form: ClassVar[Form]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.form = _read(cls)

    def __init__(self) -> None:
        """A fresh instance with its defaults; the runtime fills in the state."""
        for each in self.form.declared.values():
            if each.default is not REQUIRED:
                object.__setattr__(self, each.name, each.initial())

    def __setattr__(self, name: str, value: Any) -> None:
        declared = self.form.declared.get(name)
        if declared is None:
            raise AttributeError(f"{type(self).__name__} declares no field {name}")
        object.__setattr__(self, name, declared.type.copy(value))
