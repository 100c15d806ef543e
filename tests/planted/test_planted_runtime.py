"""The order in which the runtime makes things durable and lets them be seen (protocol §7 ‡).

A real runtime, signer and chain data; the core is a script, and the store's writes wait at a gate.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consensus.block import Block
from consensus.certificates import vote_unsigned
from consensus.effects import Commit, Effect, Persist, Remember, Sign
from consensus.events import Committed, Event, Persisted, Signed, Woke
from consensus.ids import Height, Now, Round
from consensus.signatures import CONFIRM
from consensus.signing import CONFIRM as CONFIRM_PHASE
from node.runtime import Runtime
from node.signer import Signer
from node.store.chain import ChainData
from node.store.memory import MemoryStore
from node.store.ports import Items
from node.writer import Writer
from tests.consensus.builders_chain import MiniChain, make_spec

SECRET = bytes(range(32))
PATIENCE_S = 10.0  # until something that must happen has happened
TURNS = 50  # of the loop, in which whatever does not wait for the disk has happened


class GatedStore(MemoryStore):
    """Writes wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def write(self, items: Items, *, durable: bool) -> None:
        assert self.gate.wait(PATIENCE_S), "the gate stays shut"
        super().write(items, durable=durable)


class Script:
    """Stands where the core is: orders its effects when it wakes, notes what it hears."""

    def __init__(self, stage: "Stage", effects: list[Effect]) -> None:
        self.spec = stage.chain.spec
        standing = SimpleNamespace(settled=False, height=1)
        self.engine = SimpleNamespace(machine=SimpleNamespace(standing=standing))
        self._effects, self._stage = effects, stage

    def handle(self, event: Event, now: Now) -> list[Effect]:
        if type(event) is Woke:
            return self._effects
        self._stage.heard.append(event)
        self._stage.news.set()
        return []


class Stage:
    """What one script does to a disk; `heard`: outcomes, in order."""

    def __init__(self, folder: Path) -> None:
        self.chain = MiniChain(make_spec(4))
        self.block: Block = self.chain.block(messages=0, round=1)
        self.folder, self.store = folder, GatedStore()
        self.signer = self.opened(create=True)
        self.data = ChainData(self.store, chain=self.chain.spec.id, spec=self.chain.spec.raw)
        self.data.commit_genesis(self.chain.tip.raw, {}, ())
        self.heard: list[Event] = []
        self.news = asyncio.Event()
        self.moved: list[int] = []  # heights that the store held when the executor moved on

    def opened(self, *, create: bool = False) -> Signer:
        """The signer as a start of the node finds it."""
        spec = self.chain.spec
        return Signer.open(
            SECRET,
            self.folder / "sign.db",
            chain=spec.id,
            spec_seed=spec.seed,
            chain_links=17,
            create=create,
        )

    def sign(self, record: bytes, block: bytes | None = None) -> Sign:
        unsigned = vote_unsigned(
            CONFIRM,
            chain=self.chain.spec.id,
            epoch=0,
            height=1,
            round_=0,
            block=block,
            peer=self.signer.peer,
        )
        return Sign(CONFIRM, Height(1), Round(0), CONFIRM_PHASE, unsigned, record)

    # ---- the executor's side --------------------------------------------------------------------

    def outcome(self, effect: Commit) -> Any:
        return SimpleNamespace(changes={}, receipts=())

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        yield

    def advance(self, effect: Commit) -> None:
        self.moved.append(self.data.height)

    # ---- running --------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self, *effects: Effect) -> AsyncIterator[None]:
        streams = SimpleNamespace(committed=lambda effect, outcome: None)
        runtime = Runtime(
            cast(Any, Script(self, list(effects))),
            signer=self.signer,
            chain=self.data,
            executor=cast(Any, self),
            outbound=cast(Any, None),
            streams=cast(Any, streams),
            journal=None,
            clock=lambda: Now(1_000, 1_000),
        )
        task = asyncio.create_task(runtime.run())
        try:
            yield
        finally:
            self.store.gate.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Looked at after each outcome."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def kinds(self) -> list[type[Event]]:
        return [type(event) for event in self.heard]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_a_vote_is_signed_after_its_block_is_durable_and_heard_after_both(
    stage: Stage,
) -> None:
    stage.store.gate.clear()
    async with stage.running(Persist(stage.block, ()), stage.sign(b"voted", stage.block.id)):
        await turns()
        assert stage.heard == []
        assert stage.opened().record != b"voted", "signed while its block was not durable"
        stage.store.gate.set()
        await stage.until(lambda: len(stage.heard) == 2)
    assert stage.kinds() == [Persisted, Signed]
    assert [found.id for found in stage.data.candidates()] == [stage.block.id]
    assert stage.opened().record == b"voted"


async def test_a_refused_signature_is_never_heard_of(stage: Stage) -> None:
    other = stage.sign(b"other", stage.block.id)
    async with stage.running(stage.sign(b"voted"), other, Persist(stage.block, ())):
        await stage.until(lambda: Persisted in stage.kinds())
    assert stage.kinds() == [Signed, Persisted]
    assert stage.signer.refused_count == 1
    assert stage.opened().record == b"voted"


async def test_what_is_to_be_remembered_is_found_by_the_next_start(stage: Stage) -> None:
    async with stage.running(Remember(b"locked"), Persist(stage.block, ())):
        await stage.until(lambda: Persisted in stage.kinds())
    assert stage.opened().record == b"locked"


async def test_a_word_asked_for_again_makes_its_newer_record_durable(stage: Stage) -> None:
    """As after a restart: the same word, and a lock or valid value that came since."""
    async with stage.running(stage.sign(b"voted"), stage.sign(b"voted, and locked")):
        await stage.until(lambda: len(stage.heard) == 2)
    assert stage.heard[0] == stage.heard[1], "one signature"
    assert stage.opened().record == b"voted, and locked"


async def test_a_height_is_the_tip_after_it_is_written(stage: Stage) -> None:
    stage.store.gate.clear()
    async with stage.running(Commit(stage.block, None, ())):
        await turns()
        assert stage.heard == [] and stage.moved == []
        stage.store.gate.set()
        await stage.until(lambda: bool(stage.heard))
    assert stage.heard == [Committed(Height(1), stage.block.id)]
    assert stage.moved == [1], "the height was on the disk when the executor moved on"


async def test_the_writer_keeps_the_order_and_stops_at_the_first_failure() -> None:
    done: list[int] = []
    failures: list[BaseException] = []
    gate = threading.Event()
    writer = Writer(failures.append)

    def job(number: int) -> int:
        gate.wait(PATIENCE_S)
        if number == 3:
            raise OSError(f"job {number}")
        return number

    for number in range(6):
        writer.order(partial(job, number), done.append)
    gate.set()
    await writer.close()
    await turns()
    assert done == [0, 1, 2]
    assert [str(error) for error in failures] == ["job 3"]
