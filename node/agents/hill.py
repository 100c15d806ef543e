"""The hill agent: King of the Hill for this peer (protocol §4).

Once an epoch, when its claims are open: renew what this peer owns, mine for more, hand the facts to
the core. Mining happens in a niced process, or in a thread when there is little of it. A quiet
chain has no blocks, so nothing is mined.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from consensus.certificates import append_signature
from consensus.claims import Found, mine
from consensus.events import Event, FactsReceived
from consensus.facts import Fact, Renew, SlotClaim, claim_unsigned, renew_unsigned
from consensus.ids import Hash, Peer
from consensus.signatures import CLAIM, RENEW
from consensus.spec import ChainSpec
from consensus.transition import View
from node.signer import Signer
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.ports import Gate, StreamOptions
from perper_core.values import Value

log = logging.getLogger("apocryph.hill")

BATCH_NONCES = 65_536  # tried at once; between batches the duty cycle rests
THREAD_NONCES_MAX = 65_536  # more in an epoch goes to a process of its own
NICE = 19
DUTY = 0.25  # share of one core that endless mining may take
CLAIMS_MAX = 64  # facts that one epoch's mining hands over
PREFIX_BYTES = 8


class HillAgent(Agent):
    """Waits for epochs, gives claims."""

    def __init__(
        self,
        spec: ChainSpec,
        *,
        signer: Signer,
        offer: Callable[[Event], bool],
        mining: bool,
    ) -> None:
        self.spec, self.signer, self.offer, self.mining = spec, signer, offer, mining
        self.hashed = 0
        self.found = 0
        self._views: asyncio.Queue[View] = asyncio.Queue(maxsize=4)
        self._done_epoch = -1
        self._pool: ProcessPoolExecutor | None = None

    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        options = StreamOptions(gate=Gate.NONE, keep_items=1024)
        self._stream = (await context.open_stream("claims", options)).writer()
        context.spawn(self._run(), name="hill")

    @on("Stop")
    async def stop(self, context: Context, argument: Value) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def observe(self, view: View) -> None:
        """The state after a committed block; cheap, called at each."""
        if view.epoch + 1 <= self._done_epoch or view.salt_next is None or not view.claim_open:
            return
        if not self._views.full():
            self._done_epoch = view.epoch + 1
            self._views.put_nowait(view)

    async def _run(self) -> None:
        while True:
            view = await self._views.get()
            epoch, salt = view.epoch + 1, view.salt_next
            assert salt is not None, "observed only while claims are open"
            commitment = await asyncio.to_thread(self.signer.commitment, epoch)
            if self.signer.peer in view.table.weights:
                self._hand_over([self._renew(epoch, commitment)])
            if self.mining:
                await self._mine(epoch, salt, commitment)

    async def _mine(self, epoch: int, salt: Hash, commitment: Hash) -> None:
        """The bounded number of nonces of this epoch, or on until the next epoch is seen."""
        bound, start = self.spec.parameters.hill_nonces, 0
        while (not bound or start < bound) and self._views.empty():
            count = min(BATCH_NONCES, bound - start) if bound else BATCH_NONCES
            begun = asyncio.get_running_loop().time()
            found = await self._hash(epoch, salt, commitment, start, count)
            start += count
            self.hashed += count
            if found:
                best = sorted(found, key=lambda item: -item.hill)[:CLAIMS_MAX]
                self._hand_over([self._claim(epoch, item, commitment) for item in best])
            if not bound:
                spent = asyncio.get_running_loop().time() - begun
                await asyncio.sleep(spent * (1 - DUTY) / DUTY)

    async def _hash(
        self, epoch: int, salt: Hash, commitment: Hash, start: int, count: int
    ) -> list[Found]:
        peer, prefix = Peer(self.signer.peer), bytes(PREFIX_BYTES)
        bound = self.spec.parameters.hill_nonces
        if bound and bound <= THREAD_NONCES_MAX:
            return await asyncio.to_thread(
                _mine_range, self.spec.raw, salt, peer, commitment, prefix, start, count
            )
        if self._pool is None:
            self._pool = ProcessPoolExecutor(max_workers=1, initializer=_be_nice)
        loop = asyncio.get_running_loop()
        arguments = (self.spec.raw, salt, peer, commitment, prefix, start, count)
        return await loop.run_in_executor(self._pool, _mine_range, *arguments)

    def _renew(self, epoch: int, commitment: Hash) -> Renew:
        unsigned = renew_unsigned(
            chain=self.spec.id, epoch=epoch, peer=self.signer.peer, commitment=commitment
        )
        signature = self.signer.sign_plain(RENEW, self.spec.id, unsigned)
        return Renew.decode(append_signature(unsigned, signature))

    def _claim(self, epoch: int, item: Found, commitment: Hash) -> SlotClaim:
        unsigned = claim_unsigned(
            chain=self.spec.id,
            epoch=epoch,
            peer=self.signer.peer,
            nonce=item.nonce,
            commitment=commitment,
        )
        signature = self.signer.sign_plain(CLAIM, self.spec.id, unsigned)
        return SlotClaim.decode(append_signature(unsigned, signature))

    def _hand_over(self, facts: list[Fact]) -> None:
        self.found += len(facts)
        for fact in facts:
            self._stream.offer(fact.raw)
        self.offer(FactsReceived(tuple([(0, fact) for fact in facts])))


def _be_nice() -> None:
    os.nice(NICE)


def _mine_range(
    spec_raw: bytes,
    salt: Hash,
    peer: Peer,
    commitment: Hash,
    prefix: bytes,
    start: int,
    count: int,
) -> list[Found]:
    """One batch, in whichever process."""
    spec = ChainSpec.decode(spec_raw)
    return mine(
        spec,
        salt=salt,
        peer=peer,
        commitment=commitment,
        nonce_prefix=prefix,
        start=start,
        count=count,
    )
