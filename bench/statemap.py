"""What updating and hashing the state map costs a transfer, beside other layouts of such a map.

A transfer changes two keys; a block of 1,000 transfers is one batch. The figure is the product's
own map; the other layouts (`bench.layouts`) run in the same command, for the decision's sake.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Protocol

from bench.figures import Figure, Measurement

KEYS = 100_000
TRANSFERS = 1_000
BATCHES = 15
PROOFS = 200
_SEED = 1


class Layout(Protocol):
    def update(self, changes: Mapping[bytes, bytes]) -> bytes:
        """The root after the changes."""
        ...

    def proof_bytes(self, key: bytes) -> int: ...


class Product:
    """The map of `consensus.statemap`, which is immutable: each update makes the next."""

    def __init__(self) -> None:
        from consensus.statemap import StateMap

        self._map = StateMap.empty()

    def update(self, changes: Mapping[bytes, bytes]) -> bytes:
        self._map = self._map.update(changes)
        return self._map.root

    def proof_bytes(self, key: bytes) -> int:
        return len(self._map.prove(key).encode())


def microseconds_per_transfer(layout: Layout, keys: list[bytes]) -> float:
    """Median over the batches; the map holds all the keys."""
    dice = random.Random(_SEED)
    layout.update(dict.fromkeys(keys, bytes(9)))
    taken = []
    for _ in range(BATCHES):
        changes = {dice.choice(keys): dice.randbytes(9) for _ in range(2 * TRANSFERS)}
        start = time.perf_counter()
        layout.update(changes)
        taken.append((time.perf_counter() - start) / TRANSFERS * 1e6)
    return median(taken)


def mean_proof_bytes(layout: Layout, keys: list[bytes]) -> float:
    return sum(layout.proof_bytes(key) for key in keys[:PROOFS]) / PROOFS


def account_keys(count: int) -> list[bytes]:
    dice = random.Random(_SEED)
    return [b"a/" + dice.randbytes(36) for _ in range(count)]


def compare() -> Measurement:
    from bench.layouts.binary import Binary
    from bench.layouts.wide import Wide

    keys = account_keys(KEYS)
    product = Product()
    value = microseconds_per_transfer(product, keys)
    details: dict[str, float | str] = {"proof_bytes": mean_proof_bytes(product, keys)}
    others: tuple[tuple[str, Callable[[], Layout]], ...] = (
        ("binary", Binary),
        ("nodes_16", lambda: Wide(16)),
        ("nodes_256", lambda: Wide(256)),
    )
    for name, make in others:
        layout = make()
        details[f"{name}_us"] = microseconds_per_transfer(layout, keys)
        details[f"{name}_proof_bytes"] = mean_proof_bytes(layout, keys)
    return Measurement(value, details)


FIGURES = (
    Figure(
        name="statemap",
        what=f"state map of {KEYS:,} keys, two keys a transfer, blocks of {TRANSFERS:,} transfers",
        unit="µs/transfer",
        goal=None,
        run=compare,
    ),
)
