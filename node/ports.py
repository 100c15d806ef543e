"""The face of a running node towards its users: what the gateway may ask, and nothing more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from consensus.effects import Commit, Refused
from consensus.ids import ChainId, MessageId, Peer
from consensus.messages import Message
from consensus.spec import ChainSpec
from consensus.state import State
from node.execution.ports import Outcome
from node.store.chain import ChainData
from perper_core.ports import Fabric


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a user's message at the pool: code empty when it is in (or was before)."""

    message: MessageId
    code: str = ""
    cause: str = ""


class Face(Protocol):
    """One node as its gateway sees it. Everything on the node's event loop."""

    spec: ChainSpec
    chain: ChainData
    peer: Peer

    @property
    def fabric(self) -> Fabric: ...

    @property
    def chain_id(self) -> ChainId: ...

    async def submit(self, messages: Sequence[Message]) -> list[Admission]:
        """Decoded messages, signatures not judged yet: verified here, in threads, then offered.

        Refusals: Signature, WrongChain, Expired, ExpiresTooLate, PoolFull, SenderFull, NoFunds
        (gas_max + pay above the committed balance), UnknownAgent, Busy.
        """
        ...

    def state(self) -> tuple[int, State]:
        """(height, committed state) for views and accounts."""
        ...

    async def prove(self, key: bytes) -> tuple[int, bytes]:
        """(committed height, canonical bytes of its state map's proof for a key)."""
        ...

    def pending(self, message: MessageId) -> Message | None:
        """A message that waits in the pool."""
        ...

    def listen(
        self, committed: Callable[[Commit, Outcome], None], refused: Callable[[Refused], None]
    ) -> None:
        """Be told of every committed block, and of messages of users that are refused later."""
        ...

    def status(self) -> dict[str, Any]:
        """height, block, state_root, epoch, round, slots, preference, streak, settle_ms, peers…"""
        ...

    def peers(self) -> list[dict[str, Any]]: ...

    def counters(self) -> dict[str, int | float]:
        """Numbers for /metrics by name without the prefix `apocryph_`."""
        ...

    @property
    def ready(self) -> tuple[bool, dict[str, bool]]:
        """(all hold, each condition by name) for /readyz."""
        ...
