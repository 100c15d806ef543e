"""Events, effects and the machine itself as canonical bytes: for the journal, replay, executions.

A closed set of classes; reading makes nothing else, so a journal from elsewhere can be replayed
safely. Records that have wire bytes travel as those. Pure.

Forms: scalars as they are; ["t", …] tuple, ["l", …] list, ["d", k, v, …] dict in its order,
["r", class, raw] a record by its bytes, ["o", class, field, …] any other class by its fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any

import libipld

from consensus import (
    block,
    certificates,
    effects,
    events,
    facts,
    ids,
    leaves,
    messages,
    polls,
    proposers,
    signing,
    snowball,
    standing,
    tables,
    votes,
)
from consensus.dice import Dice
from consensus.encoding import Value, encode, head
from consensus.errors import EncodingError
from node import catchup, pool

_RAW: tuple[type, ...] = (
    block.Header,
    block.Body,
    block.Proposal,
    certificates.Vote,
    certificates.Certificate,
    certificates.Aggregate,
    facts.SlotClaim,
    facts.Renew,
    facts.Evidence,
    facts.DoubleProposal,
    facts.LateAccept,
    messages.Message,
    signing.SignRecord,
    tables.Table,
)
_MODULES: tuple[ModuleType, ...] = (
    block,
    catchup,
    effects,
    events,
    ids,
    leaves,
    messages,
    polls,
    pool,
    proposers,
    signing,
    snowball,
    standing,
    votes,
)
_SKIPPED = ("spec", "pool")  # given again when a machine is restored


def _is_record(found: Any, module: ModuleType) -> bool:
    return (
        isinstance(found, type)
        and found.__module__ == module.__name__
        and (is_dataclass(found) or hasattr(found, "_fields"))
    )


_CLASSES: dict[str, type] = {
    found.__name__: found
    for module in _MODULES
    for found in vars(module).values()
    if _is_record(found, module)
}
_RAW_CLASSES = {cls.__name__: cls for cls in _RAW}


def _names(cls: type) -> tuple[str, ...]:
    if is_dataclass(cls):
        return tuple(item.name for item in dataclass_fields(cls) if item.name not in _SKIPPED)
    return tuple(cls._fields)  # type: ignore[attr-defined]


_FIELDS = {cls: _names(cls) for cls in _CLASSES.values()}


# ---- writing ------------------------------------------------------------------------------------

_TUPLE, _LIST, _DICT, _SET = (encode(form) for form in ("t", "l", "d", "f"))
_RECORD_HEADS = {cls: b"\x83" + encode("r") + encode(cls.__name__) for cls in (*_RAW, Dice)}
_OBJECT_HEADS = {
    cls: head(4, len(names) + 2) + encode("o") + encode(cls.__name__)
    for cls, names in _FIELDS.items()
}


def _write(value: Any, out: list[bytes]) -> None:
    """Append the bytes of a value; hot, so it writes without an intermediate form."""
    kind = type(value)
    if kind is bytes:
        out.append(head(2, len(value)))
        out.append(value)
    elif value is None or kind in (bool, int, str):
        out.append(encode(value))
    elif kind in _RECORD_HEADS:
        raw = value.snapshot() if kind is Dice else value.raw
        out += (_RECORD_HEADS[kind], head(2, len(raw)), raw)
    elif kind in _OBJECT_HEADS:
        out.append(_OBJECT_HEADS[kind])
        for name in _FIELDS[kind]:
            _write(getattr(value, name), out)
    elif kind in (tuple, list):
        out += (head(4, len(value) + 1), _TUPLE if kind is tuple else _LIST)
        for item in value:
            _write(item, out)
    elif kind is frozenset:
        out += (head(4, len(value) + 1), _SET)
        for item in sorted(value):
            _write(item, out)
    elif isinstance(value, Mapping):
        out += (head(4, 2 * len(value) + 1), _DICT)
        for key, item in value.items():
            _write(key, out)
            _write(item, out)
    else:
        raise AssertionError(f"{kind.__name__} has no form in the journal")


def to_bytes(value: Any) -> bytes:
    """Canonical bytes of an event, an effect, a machine, or a list of them."""
    out: list[bytes] = []
    _write(value, out)
    return b"".join(out)


# ---- reading ------------------------------------------------------------------------------------


def from_bytes(raw: bytes) -> Any:
    """The value of `to_bytes`. Raises EncodingError for anything else."""
    try:
        plain = libipld.decode_dag_cbor(raw)
    except (ValueError, RecursionError) as error:
        raise EncodingError("journal: not DAG-CBOR") from error
    try:
        return _value(plain)
    except (TypeError, ValueError, LookupError) as error:  # of other shapes than were written
        raise EncodingError("journal: an unknown form") from error


def _value(plain: Value) -> Any:
    if not isinstance(plain, list):
        return plain
    if not plain or plain[0] not in _READ:
        raise EncodingError("journal: an unknown form")
    return _READ[plain[0]](plain)


def _read_dict(plain: list[Value]) -> dict[Any, Any]:
    parts = [_value(item) for item in plain[1:]]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _read_record(plain: list[Value]) -> Any:
    if plain[1] == "Dice":
        return Dice.restore(plain[2])
    cls = _RAW_CLASSES.get(plain[1])
    if cls is None:
        raise EncodingError(f"journal: unknown record {plain[1]!r}")
    if cls is messages.Message:
        return messages.decoded(plain[2])
    return cls.decode(plain[2])  # type: ignore[attr-defined]


def _read_object(plain: list[Value]) -> Any:
    cls = _CLASSES.get(plain[1])
    if cls is None:
        raise EncodingError(f"journal: unknown class {plain[1]!r}")
    values = [_value(item) for item in plain[2:]]
    names = _FIELDS[cls]
    if len(values) != len(names):
        raise EncodingError(f"journal: {plain[1]} has other fields in this version")
    if "spec" in getattr(cls, "__dataclass_fields__", {}):
        made: Any = object.__new__(cls)
        for name, item in zip(names, values, strict=True):
            object.__setattr__(made, name, item)
        return made
    return cls(*values) if not is_dataclass(cls) else _construct(cls, names, values)


def _construct(cls: type, names: tuple[str, ...], values: list[Any]) -> Any:
    return cls(**dict(zip(names, values, strict=True)))


_READ: dict[str, Callable[[list[Value]], Any]] = {
    "t": lambda plain: tuple([_value(item) for item in plain[1:]]),
    "l": lambda plain: [_value(item) for item in plain[1:]],
    "f": lambda plain: frozenset(plain[1:]),
    "d": _read_dict,
    "r": _read_record,
    "o": _read_object,
}
