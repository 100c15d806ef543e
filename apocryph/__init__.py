"""Apocryph: a blockchain for autonomous agents. What users import; everything else may move.

Names are looked up when they are first used, so importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node.client import AsyncClient as AsyncClient
    from node.client import Client as Client
    from node.sdk.agent import Agent as Agent
    from node.sdk.agent import on as on
    from node.sdk.agent import view as view
    from node.sdk.context import Context as Context
    from node.sdk.context import Reject as Reject
    from node.sdk.fields import Address as Address
    from node.sdk.fields import Reference as Reference
    from node.sdk.shapes import message as message
    from node.sdk.shapes import record as record

_HOMES = {
    "Agent": "node.sdk.agent",
    "on": "node.sdk.agent",
    "view": "node.sdk.agent",
    "Context": "node.sdk.context",
    "Reject": "node.sdk.context",
    "Address": "node.sdk.fields",
    "Reference": "node.sdk.fields",
    "message": "node.sdk.shapes",
    "record": "node.sdk.shapes",
    "Client": "node.client",
    "AsyncClient": "node.client",
}
__all__ = [
    "Address",
    "Agent",
    "AsyncClient",
    "Client",
    "Context",
    "Reference",
    "Reject",
    "message",
    "on",
    "record",
    "view",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'apocryph' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # next time it is found without us
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
