"""The port of a store: single-key compare-and-set over opaque records, and hints (pure).

Contract 1 and 2. A store knows nothing of streams or executions. It reads two things of a record:
its version, the first 8 bytes, big-endian; and of a key: its table, the first byte
(`perper_core.records`).
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol


class Outcome(IntEnum):
    """What became of one write. UNKNOWN: it may or may not be there; read again."""

    OK = 0
    CONFLICT = 1
    UNKNOWN = 2


class Write(NamedTuple):
    """Put `raw` under `key` if the record there has version `expected` (None: if there is none)."""

    key: bytes
    expected: int | None
    raw: bytes


class Removal(NamedTuple):
    """Delete `key` if it has version `expected` (None: whatever is there). Nothing there is OK."""

    key: bytes
    expected: int | None


def version_of(raw: bytes | memoryview) -> int:
    """Version of a record: its first 8 bytes. Writers choose it; it only ever differs."""
    return int.from_bytes(raw[:8], "big")


class Store(Protocol):
    """Where the truth of the fabric lives. Errors: Exhausted (disk full: nothing of the call was
    written), Corrupt. A write that returned OK is durable, if the store keeps anything at all."""

    @property
    def exclusive(self) -> bool:
        """No other server can write here while it is open: no take-over by somebody else, every
        change passes through this object, and nobody has to watch."""
        ...

    @property
    def immediate(self) -> bool:
        """Calls never suspend: whoever awaits one keeps the event loop."""
        ...

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Records, in order of keys, each read alone. At most GET_MANY_MAX keys."""
        ...

    async def cas_many(self, writes: Sequence[Write]) -> list[Outcome]:
        """Each write alone: no order and no atomicity among them, one key at most once."""
        ...

    async def remove_many(self, removals: Sequence[Removal]) -> list[Outcome]:
        """Each removal alone. Never CONFLICT without `expected`."""
        ...

    async def scan(self, index: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Records of metadata whose key starts with `index` and is > `after`, in order of keys.
        Never items: only tables of `records.INDEXED` can be scanned."""
        ...

    def watch(self, prefix: bytes, hint: Callable[[], None]) -> Callable[[], None]:
        """Call `hint` (on the event loop, without data) after changes under the prefix: lossy,
        doubled, unordered. Returns what ends it."""
        ...

    async def close(self) -> None: ...
