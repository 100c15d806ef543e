"""How many 200-byte items a stream of the fabric carries from one writer to one listener.

The measuring itself is in `bench.fabric_streams`, which knows the fabric; here are the names.
"""

from __future__ import annotations

import importlib

from bench.figures import Figure, Goal, Measurement, Unavailable

ITEM_BYTES = 200
_STREAMS = "bench.fabric_streams"


def _measure(entry: str) -> Measurement:
    measure = getattr(importlib.import_module(_STREAMS), entry, None)
    if measure is None:
        raise Unavailable(f"{_STREAMS} has no {entry}")
    return Measurement(float(measure()))


def memory() -> Measurement:
    return _measure("memory_items_per_s")


def lmdb() -> Measurement:
    return _measure("lmdb_items_per_s")


def grpc() -> Measurement:
    return _measure("grpc_items_per_s")


_WHAT = f"fabric stream, {ITEM_BYTES}-byte items, one writer, one `flow` listener, credits on: "

FIGURES = (
    Figure(
        name="fabric-memory",
        what=_WHAT + "in process, in memory, appends of 100",
        unit="items/s",
        goal=Goal(100_000, "more"),
        run=memory,
    ),
    Figure(
        name="fabric-lmdb",
        what=_WHAT + "in process, lmdb durable, batches of 100",
        unit="items/s",
        goal=Goal(30_000, "more"),
        run=lmdb,
    ),
    Figure(
        name="fabric-grpc",
        what=_WHAT + "gRPC session from a second process, batched",
        unit="items/s",
        goal=Goal(20_000, "more"),
        run=grpc,
    ),
)
