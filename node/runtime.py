"""The runtime of a NodeCore: one queue, one task, effects performed in order, outcomes as events.

Durable effects go to the writer thread in their order; what peers see of them comes only when they
are done (on Signed, on Committed). Knows no rule of the protocol.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from consensus.effects import (
    Ask,
    Blame,
    Build,
    Commit,
    Effect,
    Execute,
    Gossip,
    Halt,
    Persist,
    Publish,
    Refused,
    Remember,
    Reply,
    Reveal,
    Sign,
    Verdict,
    WakeAt,
)
from consensus.errors import SignRefused
from consensus.events import (
    BlockBuilt,
    BlockExecuted,
    BuildFaulted,
    CertificateReceived,
    Committed,
    Event,
    ExecutionFaulted,
    FactsReceived,
    MessagesReceived,
    Persisted,
    PollReceived,
    ProposalReceived,
    Revealed,
    Signed,
    VotesReceived,
    Woke,
)
from consensus.ids import Now
from consensus.signatures import coverage
from node.core import NodeCore
from node.errors import ChainForked
from node.execution.ports import Outcome
from node.hold import Hold
from node.signer import Signer
from node.store.chain import ChainData
from node.writer import Writer

log = logging.getLogger("apocryph.runtime")

QUEUE_MAX = 16_384  # events waiting for the core; beyond it what peers say unasked is dropped
MERGED_MAX = 256  # votes or messages of waiting events that are handed to the core as one
STUCK_S = 5.0  # an execution that the host could not run is tried again after this

# What peers may say at any rate. Links and the outcomes of our asks are as many as we have: a core
# that missed one would wait for it for ever.
UNASKED = (
    VotesReceived,
    ProposalReceived,
    FactsReceived,
    MessagesReceived,
    CertificateReceived,
    PollReceived,
)


def _is_unasked(event: Event) -> bool:
    """Renewals and claims of our own are made once an epoch, and nobody makes them again."""
    if isinstance(event, FactsReceived):
        return any(token for token, _ in event.facts)
    return isinstance(event, UNASKED)


class ExecutionFault(Exception):
    """This host could not run a block; says nothing of the block."""


class Outbound(Protocol):
    """Where effects that concern peers go: the gossip agent."""

    def send(self, effect: Gossip | Ask | Reply | Verdict | Blame) -> None: ...


class Executor(Protocol):
    """Executions of blocks, over the fabric; and the outcomes that a commit makes durable."""

    async def execute(self, effect: Execute) -> BlockExecuted | ExecutionFaulted: ...

    async def build(self, effect: Build) -> BlockBuilt | BuildFaulted: ...

    def outcome(self, effect: Commit) -> Outcome:
        """What an executed block does, to be written; it stays the executor's."""
        ...

    def still(self) -> AbstractAsyncContextManager[None]:
        """While held, no block runs: the state under it may move."""
        ...

    def advance(self, effect: Commit) -> None:
        """The block is durable: it is the tip now. Only while `still` is held."""
        ...


class Streams(Protocol):
    """The node's published streams."""

    def publish(self, effect: Publish) -> None: ...

    def committed(self, effect: Commit, outcome: Outcome) -> None: ...


class JournalPort(Protocol):
    def append(self, now: Now, event: Event, effects: list[Effect]) -> None: ...


Wall = Callable[[], Now]


def wall_clock() -> Now:
    """Both clocks of this machine, in whole milliseconds."""
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)


def _settle(waited: asyncio.Future[None]) -> None:
    """It is done, and whoever waits hears of it; nobody does where the node stopped meanwhile."""
    if not waited.done():
        waited.set_result(None)


class Runtime:
    """Owns a core. Everything else offers events and never touches the core."""

    def __init__(
        self,
        core: NodeCore,
        *,
        signer: Signer,
        chain: ChainData,
        executor: Executor,
        outbound: Outbound,
        streams: Streams,
        journal: JournalPort | None,
        hold: Hold | None = None,
        clock: Wall = wall_clock,
    ) -> None:
        """`hold`: of what is to be signed; without one nothing waits."""
        self.core = core
        self.halted = ""
        self.dropped = 0
        self.events = 0
        self.settle_ms: int | None = None  # of the newest height that settled here
        self._settled_height = -1
        self.on_refused: Callable[[Refused], None] = lambda effect: None
        self.on_forked: Callable[[Halt], None] = lambda effect: None
        self.on_committed: Callable[[Commit, Outcome], None] = lambda effect, outcome: None
        self.check: Callable[[Commit], None] = lambda effect: None  # raises: the node ends
        self._hold = hold or Hold(core, is_open=True)
        self._signer, self._chain, self._executor = signer, chain, executor
        self._outbound, self._streams, self._journal = outbound, streams, journal
        self._clock = clock
        self._queue: deque[Event] = deque()
        self._answers: dict[int, asyncio.Future[list[Refused]]] = {}  # by id of the event
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self._writer = Writer(self.fail)

    def now(self) -> Now:
        """Both clocks, as the core is told them."""
        return self._clock()

    # ---- events in ------------------------------------------------------------------------------

    def offer(self, event: Event) -> bool:
        """An event from outside; False when the queue is full and it was dropped."""
        if len(self._queue) >= QUEUE_MAX and _is_unasked(event):
            self.dropped += 1
            return False
        self._take(event)
        return True

    async def submit(self, event: MessagesReceived) -> list[Refused] | None:
        """Messages of this node's users, and what the core refused of them; null: queue full."""
        answer: asyncio.Future[list[Refused]] = self._loop.create_future()
        self._answers[id(event)] = answer
        if not self.offer(event):
            del self._answers[id(event)]
            return None
        return await answer

    def _take(self, event: Event) -> None:
        """An outcome: never dropped."""
        self._queue.append(event)
        self._ready.set()

    async def run(self) -> None:
        """Until cancelled; raises the failure of a durable write, or of the core itself."""
        self._take(Woke())
        pump = self._loop.create_task(self._pump())
        try:
            await asyncio.wait([pump, self.failure], return_when=asyncio.FIRST_COMPLETED)
            if self.failure.done():
                self.failure.result()
            await pump
        finally:
            pump.cancel()
            if self._timer is not None:
                self._timer.cancel()
            for task in list(self._tasks):
                task.cancel()
            await self._writer.close()

    def fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    async def _pump(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while self._queue:
                self._step(self._next())
                # Executions, links and timers get their turn between events.
                await asyncio.sleep(0)

    def _next(self) -> Event:
        """The next event; neighbours of one kind are handed over as one."""
        event = self._queue.popleft()
        if type(event) is VotesReceived:
            votes = list(event.votes)
            while self._queue and type(self._queue[0]) is VotesReceived and len(votes) < MERGED_MAX:
                following = self._queue.popleft()
                assert isinstance(following, VotesReceived)
                votes += following.votes
            return VotesReceived(tuple(votes))
        return event

    def _step(self, event: Event) -> None:
        now = self._clock()
        self.events += 1
        self._hold.hear(event)
        effects = self.core.handle(event, now)
        self._observe(now)
        if self._journal is not None:
            self._journal.append(now, event, effects)
        for effect in effects:
            self._perform(effect)
        for held in self._hold.freed():
            self._record(held)
        answer = self._answers.pop(id(event), None)
        if answer is not None and not answer.done():
            answer.set_result([effect for effect in effects if type(effect) is Refused])

    def _observe(self, now: Now) -> None:
        """How long Snowball took from the first executed candidate, once a height."""
        standing = self.core.engine.machine.standing
        if standing.settled and standing.height != self._settled_height:
            self._settled_height = standing.height
            if standing.executed_ms is not None:
                self.settle_ms = now.monotonic_ms - standing.executed_ms

    # ---- effects --------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Gossip() | Ask() | Reply() | Verdict() | Blame():
                self._outbound.send(effect)
            case WakeAt():
                self._wake_at(effect.monotonic_ms)
            case Publish():
                self._streams.publish(effect)
            case Sign() | Remember():
                if not self._hold.keeps(effect):
                    self._record(effect)
            case Execute():
                self._spawn(self._execute(effect))
            case Build():
                self._spawn(self._build(effect))
            case Persist():
                self._writer.order(lambda: self._persist(effect), self._take)
            case Commit():
                self._spawn(self._commit(effect))
            case Reveal():
                self._writer.order(lambda: self._reveal(effect), self._take)
            case Refused():
                self.on_refused(effect)
            case Halt():
                self.halted = f"height {effect.height}: {effect.cause}"
                if effect.forked:
                    self.on_forked(effect)
                    self.fail(ChainForked(self.halted))

    def _record(self, effect: Sign | Remember) -> None:
        if type(effect) is Sign:
            self._writer.order(lambda: self._sign(effect), self._take_signed)
        else:
            self._writer.order(lambda: self._signer.remember(effect.record), lambda result: None)

    def _wake_at(self, monotonic_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, monotonic_ms - self._clock().monotonic_ms) / 1000
        self._timer = self._loop.call_later(delay, self._take, Woke())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            assert error is not None
            self.fail(error)

    # ---- on the writer thread -------------------------------------------------------------------

    def _sign(self, effect: Sign) -> Signed | None:
        position = (effect.height, effect.round, effect.phase)
        covered = coverage(effect.kind, self.core.spec.id, effect.unsigned)
        try:
            signature = self._signer.sign(effect.record, position, covered)
        except SignRefused:
            return None  # counted by the signer; the core's record never asks for it
        return Signed(effect.kind, effect.height, effect.round, effect.unsigned, signature)

    def _take_signed(self, event: Signed | None) -> None:
        if event is not None:
            self._take(event)

    def _persist(self, effect: Persist) -> Persisted:
        if effect.block.height > self._chain.height:
            bodies = {bytes(message.id): message.raw for message in effect.messages}
            header, body = effect.block.header.raw, effect.block.body.raw
            self._chain.save_candidate(header=header, body=body, bodies=bodies)
        return Persisted(effect.block.id)

    def _reveal(self, effect: Reveal) -> Revealed:
        link = self._signer.reveal(effect.epoch, effect.number)
        return Revealed(effect.epoch, effect.number, link)

    # ---- commits and executions -----------------------------------------------------------------

    async def _commit(self, effect: Commit) -> None:
        """Write the height while no block runs on the state that it moves."""
        outcome = self._executor.outcome(effect)
        block = effect.block
        written: asyncio.Future[None] = self._loop.create_future()

        def write() -> None:
            self._chain.commit(
                height=block.height,
                header=block.header.raw,
                body=block.body.raw,
                certificate=b"" if effect.certificate is None else effect.certificate.raw,
                bodies={bytes(message.id): message.raw for message in effect.messages},
                changes=outcome.changes,
                receipts=outcome.receipts,
            )

        async with self._executor.still():
            self._writer.order(write, lambda _: _settle(written))
            await written
            self._executor.advance(effect)
        self.check(effect)  # may end the node: the core signs nothing of the next height before
        self._take(Committed(block.height, block.id))
        self._streams.committed(effect, outcome)
        self.on_committed(effect, outcome)

    async def _execute(self, effect: Execute) -> None:
        """A host fault is never an outcome (execution §5): the core hears of it after a pause."""
        event: BlockExecuted | ExecutionFaulted
        try:
            event = await self._executor.execute(effect)
        except ExecutionFault as error:
            event = ExecutionFaulted(effect.block.id, str(error))
        if isinstance(event, ExecutionFaulted):
            log.error("height %d: execution: %s", effect.block.height, event.cause)
            await asyncio.sleep(STUCK_S)
        self._take(event)

    async def _build(self, effect: Build) -> None:
        event: BlockBuilt | BuildFaulted
        try:
            event = await self._executor.build(effect)
        except ExecutionFault as error:
            event = BuildFaulted(effect.height, effect.round, str(error))
        if isinstance(event, BuildFaulted):
            log.error("height %d: build: %s", effect.height, event.cause)
            await asyncio.sleep(STUCK_S)
        self._take(event)
