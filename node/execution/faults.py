"""Where this host fails, the block is not to blame (execution §5): faults told from outcomes.

A read that fails and a state that does not decode say nothing about the block or message at hand,
so they must never turn into `invalid` or `failed`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from consensus.errors import ConsensusError, InvalidBlock
from consensus.state import SCAN_ITEMS_MAX, Pair, State
from node.execution.ports import HostFault


class GuardedState:
    """A state whose failing reads raise HostFault; the store's own error is the `__cause__`."""

    __slots__ = ("_get", "_scan")

    def __init__(self, state: State) -> None:
        self._get, self._scan = state.get, state.scan

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._get(key)
        except Exception as error:
            raise HostFault(f"reading the state: {type(error).__name__}") from error

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = SCAN_ITEMS_MAX) -> list[Pair]:
        try:
            return self._scan(prefix, after, limit)
        except Exception as error:
            raise HostFault(f"reading the state: {type(error).__name__}") from error


@contextmanager
def only_the_block_to_blame() -> Iterator[None]:
    """Within, InvalidBlock is a verdict; every other error of the protocol is a damaged state."""
    try:
        yield
    except InvalidBlock:
        raise
    except (ConsensusError, MemoryError, RecursionError) as error:
        raise HostFault(f"{type(error).__name__}: {error}") from error
