"""What peers ask of the store: tips, blocks, bodies, certificates of the past.

A reply may be megabytes of reading and encoding for a hundred bytes of asking, so each peer has a
budget in bytes, and all that own no slot share one more and are served one at a time. Who is over
its budget waits a little and is told busy then. Large replies are made in threads, and those of
committed blocks kept. Knows bytes and budgets, no rule of the chain. network §3
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from consensus.block import Block, Body, Header
from consensus.effects import BLOCK, BODIES, POLL, TIP
from consensus.ids import BlockId, ChainId, MessageId, Peer
from network.buckets import Bucket
from network.errors import Busy
from node.core import NodeCore
from node.speech import NONE, Held, answer, answer_past, asked_of_library
from node.store.chain import ChainData

MIB: Final = 1024 * 1024
ASKS_BURST: Final = 1_024  # asks of any size, of one peer at once
ASKS_PER_S: Final = 256
ASK_BYTES: Final = 16 * 1024  # what an ask costs beside the bytes that it reads and sends
OWNER_BURST_BYTES: Final = 32 * MIB
OWNER_BYTES_PER_S: Final = 8 * MIB
# A follower that catches up from genesis: 128 empty blocks/s of each peer, or 2 MiB/s of full ones.
STRANGER_BURST_BYTES: Final = 4 * MIB
STRANGER_BYTES_PER_S: Final = 2 * MIB
STRANGERS_BURST_BYTES: Final = 8 * MIB  # all of them together
STRANGERS_BYTES_PER_S: Final = 4 * MIB
OPEN_MAX: Final = 32  # asks of one owner that wait or are worked on
STRANGER_OPEN_MAX: Final = 4  # what a node that catches up asks of one peer at once
STRANGERS_OPEN_MAX: Final = 256  # each waits behind one of every other, not behind all of them
WAIT_S: Final = 4.0  # for the budget; the asker gives up after 5
ACCOUNTS_MAX: Final = 1_024
INLINE_MESSAGES: Final = 64  # replies with no more of them are made on the loop
KEPT_BYTES_MAX: Final = 16 * MIB  # replies of committed blocks
KEPT_MAX: Final = 1_024


@dataclass(slots=True)
class _Account:
    """One peer's budget; `turn` has its asks served in order."""

    asks: Bucket
    bytes: Bucket
    owner: bool
    open_max: int
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    open: int = 0


class Shelf:
    """A `speech.Library` over the store alone, to be read in any thread; beside it what the core
    holds in memory, looked up before. `read` counts bytes."""

    def __init__(
        self,
        chain: ChainData,
        *,
        held: Held | None = None,
        found: Sequence[bytes] = (),
        missing: Sequence[MessageId] | None = None,
    ) -> None:
        self._chain, self._held, self._found, self._missing = chain, held, found, missing
        self.read = 0

    def tip(self) -> int:
        return max(0, self._chain.height)

    def certified(self, height: int) -> Held | None:
        stored = self._chain.block(height) if height >= 1 else None
        if stored is None:
            return None
        self.read += len(stored.header) + len(stored.body) + len(stored.certificate)
        block = Block(Header.decode(stored.header), Body.decode(stored.body))
        return Held(block, stored.certificate, None)

    def candidate(self, block: BlockId) -> Held | None:
        return self._held

    def bodies(self, ids: Sequence[MessageId]) -> list[bytes]:
        stored = self._chain.messages(ids if self._missing is None else self._missing)
        return [*self._found, *[raw for raw in stored if raw is not None]]


class Replies:
    """Encoded replies of committed blocks, which never change. Bounded; the least used goes."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX, items_max: int = KEPT_MAX) -> None:
        self._bytes_max, self._items_max = bytes_max, items_max
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self.size = 0

    def get(self, height: int) -> bytes | None:
        if height in self._kept:
            self._kept.move_to_end(height)
        return self._kept.get(height)

    def put(self, height: int, reply: bytes) -> None:
        if height in self._kept:
            return
        self._kept[height] = reply
        self.size += len(reply)
        while self.size > self._bytes_max or len(self._kept) > self._items_max:
            self.size -= len(self._kept.popitem(last=False)[1])


class Librarian:
    """Answers within budgets. `owner`: whether a peer is one of those that decide or that the
    operator has named. Belongs to the loop's thread."""

    def __init__(
        self, chain: ChainData, core: NodeCore, chain_id: ChainId, owner: Callable[[Peer], bool]
    ) -> None:
        self._chain, self._core, self._chain_id, self._owner = chain, core, chain_id, owner
        self._clock = asyncio.get_running_loop().time
        self._accounts: dict[Peer, _Account] = {}
        now = self._clock()
        together = Bucket(STRANGERS_BURST_BYTES, STRANGERS_BYTES_PER_S, now)
        asks = Bucket(ASKS_BURST, ASKS_PER_S, now)
        self._strangers = _Account(asks, together, False, STRANGERS_OPEN_MAX)
        self._replies = Replies()

    @property
    def accounts(self) -> int:
        return len(self._accounts)

    # ---- asks -----------------------------------------------------------------------------------

    def count(self, peer: Peer) -> None:
        """One ask more, of whatever size. Raises Busy."""
        if not self._account(peer).asks.take(self._clock()):
            raise Busy("too many queries")

    def count_poll(self, peer: Peer) -> None:
        """A poll that the engine answers: owners are polled and poll as the rules say."""
        if not self._owner(peer):
            self.count(peer)

    def past(self, peer: Peer, data: bytes) -> bytes | None:
        """The reply to a poll for a committed height, None for the engine's. Raises EncodingError,
        Busy: who polls does not wait."""
        _, height = asked_of_library(POLL, data)
        if height > self._chain.height:  # the chain's id is for the engine's path to judge
            return None
        self.count(peer)
        account = self._account(peer)
        if any(each.bytes.debt_s(self._clock()) for each in self._payers(account)):
            raise Busy("over budget")
        shelf = Shelf(self._chain)
        reply = answer_past(shelf, data, self._chain_id)
        self._spend(account, shelf.read + (0 if reply is None else len(reply)))
        return reply

    async def answer(self, peer: Peer, proto: str, data: bytes) -> bytes:
        """The reply to an ask of the store. Raises EncodingError, Busy."""
        self.count(peer)
        fields = asked_of_library(proto, data)
        if proto == TIP:
            return answer(Shelf(self._chain), proto, data)
        account = self._account(peer)
        accounts = self._payers(account)
        if any(each.open >= each.open_max for each in accounts):
            raise Busy("too many asks at once")
        for each in accounts:
            each.open += 1
        try:
            async with AsyncExitStack() as turns:
                await self._turn(accounts, turns)
                reply = await self._reply(proto, data, fields)
                self._spend(account, len(reply))
                return reply
        finally:
            for each in accounts:
                each.open -= 1

    async def _turn(self, accounts: Sequence[_Account], turns: AsyncExitStack) -> None:
        """Until all of them may spend; whoever asked first is first. Raises Busy."""
        try:
            async with asyncio.timeout(WAIT_S):
                for account in accounts:
                    await turns.enter_async_context(account.turn)
                    while debt_s := account.bytes.debt_s(self._clock()):  # noqa: ASYNC110  time pays
                        await asyncio.sleep(debt_s)
        except TimeoutError as error:
            raise Busy("over budget") from error

    def _spend(self, account: _Account, amount: int) -> None:
        now = self._clock()
        for each in self._payers(account):
            each.bytes.spend(ASK_BYTES + amount, now)

    def _payers(self, account: _Account) -> list[_Account]:
        """Who pays for an ask of this peer: itself, and all strangers together if it is one."""
        return [account] if account.owner else [account, self._strangers]

    # ---- replies --------------------------------------------------------------------------------

    async def _reply(self, proto: str, data: bytes, fields: tuple[Any, ...]) -> bytes:
        if proto == BODIES:
            return await self._made(self._shelf(fields[0]), len(fields[0]), proto, data)
        assert proto == BLOCK, "polls and pushes are for the engine"
        height, block = fields
        candidate = self._candidate(height, block)
        if candidate is not None:
            ids = candidate.block.body.messages
            return await self._made(self._shelf(ids, candidate), len(ids), proto, data)
        if block is not None and self._chain.height_of(block) != height:
            return NONE
        reply = self._replies.get(height)
        if reply is None:
            reply = await self._made(Shelf(self._chain), None, proto, data)
            if reply != NONE:
                self._replies.put(height, reply)
        return reply

    @staticmethod
    async def _made(shelf: Shelf, messages: int | None, proto: str, data: bytes) -> bytes:
        """In a thread if it may be large."""
        if messages is not None and messages <= INLINE_MESSAGES:
            return answer(shelf, proto, data)
        return await asyncio.to_thread(answer, shelf, proto, data)

    def _candidate(self, height: int, block: BlockId | None) -> Held | None:
        """A block of the height being decided, from the disk if the engine dropped it: who is
        locked on it elsewhere may have nobody else to ask."""
        if block is None:
            return None
        found = self._core.engine.machine.standing.candidates.get(block)
        if found is None:
            kept = self._chain.candidate(height, block) if height == self._core.height else None
            return None if kept is None else Held(kept, b"", None)
        proposal = found.proposal
        word = None if proposal is None else (proposal.peer, proposal.signature)
        return Held(found.block, b"", word)

    def _shelf(self, ids: Sequence[MessageId], held: Held | None = None) -> Shelf:
        found, missing = self._core.lookup(ids)
        return Shelf(
            self._chain, held=held, found=[message.raw for message in found], missing=missing
        )

    # ---- accounts -------------------------------------------------------------------------------

    def left(self, peer: Peer) -> None:
        """The link is down. Who has spent is remembered: a new link brings no new budget."""
        account = self._accounts.get(peer)
        if account is not None and _idle(account, self._clock()):
            del self._accounts[peer]

    def _account(self, peer: Peer) -> _Account:
        owner = self._owner(peer)
        account = self._accounts.get(peer)
        if account is None or account.owner is not owner:
            now = self._clock()
            if account is None and len(self._accounts) >= ACCOUNTS_MAX:
                self._forget(now)
            asks = Bucket(ASKS_BURST, ASKS_PER_S, now)
            if owner:
                budget = Bucket(OWNER_BURST_BYTES, OWNER_BYTES_PER_S, now)
                account = _Account(asks, budget, True, OPEN_MAX)
            else:
                budget = Bucket(STRANGER_BURST_BYTES, STRANGER_BYTES_PER_S, now)
                account = _Account(asks, budget, False, STRANGER_OPEN_MAX)
            self._accounts[peer] = account
        return account

    def _forget(self, now: float) -> None:
        """Those that owe nothing, else the oldest."""
        for peer in [peer for peer, each in self._accounts.items() if _idle(each, now)]:
            del self._accounts[peer]
        while len(self._accounts) >= ACCOUNTS_MAX:
            del self._accounts[next(iter(self._accounts))]


def _idle(account: _Account, now: float) -> bool:
    return not account.open and account.asks.full(now) and account.bytes.full(now)
