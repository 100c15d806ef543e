"""How many 200-byte items a stream of the fabric carries from one writer to one listener.

The measuring itself is in `bench.fabric_streams`, `bench.fabric_grpc` and `bench.fabric_calls`,
which know the fabric; here are the names.
"""

from __future__ import annotations

import importlib

from bench.figures import Figure, Goal, Measurement, Unavailable

ITEM_BYTES = 200


def _measure(module: str, entry: str) -> Measurement:
    measure = getattr(importlib.import_module(module), entry, None)
    if measure is None:
        raise Unavailable(f"{module} has no {entry}")
    return Measurement(float(measure()))


def memory() -> Measurement:
    return _measure("bench.fabric_streams", "memory_items_per_s")


def lmdb() -> Measurement:
    return _measure("bench.fabric_streams", "lmdb_items_per_s")


def grpc() -> Measurement:
    return _measure("bench.fabric_grpc", "grpc_items_per_s")


def direct_calls() -> Measurement:
    return _measure("bench.fabric_calls", "direct_calls_per_s")


def recorded_calls() -> Measurement:
    return _measure("bench.fabric_calls", "recorded_calls_per_s")


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
    Figure(
        name="fabric-calls",
        what="calls between two agents of one process",
        unit="calls/s",
        goal=None,
        run=direct_calls,
    ),
    Figure(
        name="fabric-recorded-calls",
        what="calls between two agents that keep a record, in memory",
        unit="calls/s",
        goal=None,
        run=recorded_calls,
    ),
)
