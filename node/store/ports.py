"""ChainStore: ordered keys and values, written in atomic batches. Knows nothing of chains.

One writer thread writes; any thread reads. A reader sees whole batches or nothing of them.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from consensus.state import SCAN_ITEMS_MAX, Pair

KEY_BYTES_MAX = 511  # of lmdb; keys are 1..511 bytes
Items = Mapping[bytes, bytes | None]


class ChainStore(Protocol):
    """What chain data needs of a store. Every method raises StoreCorrupt, StoreFull or StoreFailed.

    Rules, tested by one suite on every adapter:
    - `write` is all or nothing, also across a crash in mid-write.
    - `durable=True` returns only when this batch, and every batch before it, survives a crash.
    - `durable=False` may lose the batch in a crash, but never a batch before it and not after it.
    - A value comes back as it was written, or as StoreCorrupt.
    - After StoreFull the store is as it was before that write and goes on once there is room.
    """

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None where there is none."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys` in their order, all of one moment."""
        ...

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        """At most `limit` pairs whose key starts with `prefix` and is > `after`, in key order."""
        ...

    def write(self, items: Items, *, durable: bool) -> None:
        """Set the values, None removes; atomic."""
        ...

    def close(self) -> None:
        """Make everything durable and let go. Idempotent."""
        ...
