"""The composition root of a node: picks stores, network, clock and dice; starts and stops agents.

Everything below is given what it needs; nothing below picks for itself.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from consensus.block import Block, Body, Header
from consensus.certificates import Certificate
from consensus.dice import Dice
from consensus.effects import Ask, Blame, Commit, Gossip, Refused, Reply, Verdict
from consensus.events import Event, MessagesReceived
from consensus.ids import ChainId, Checkpoint, MessageId, Peer
from consensus.messages import Message
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import Tip
from consensus.state import Pair, State
from consensus.statemap import StateMap
from consensus.transition import View, view
from network.inbox import Inbox
from network.mesh.mesh import mesh_network
from network.ports import LinkIdentity, Network, PeerAddress
from node import telling
from node.agents.consensus import KEEP_HEIGHTS, ConsensusAgent
from node.agents.executor import ExecutorAgent, FabricExecutor
from node.agents.gateway import GatewayAgent
from node.agents.gossip import GossipAgent
from node.agents.hill import HillAgent
from node.agents.twins import Twins
from node.continuing import snapshot_for
from node.core import NodeCore, Restored
from node.errors import StoreCorrupt, TwinFound
from node.execution import inbox as chain_inbox
from node.execution.genesis import genesis
from node.execution.keys import agent_key, read_balance
from node.execution.line import Line
from node.execution.ports import Outcome, Parent
from node.execution.prices import MESSAGE_GAS
from node.execution.window import Window
from node.following import Trust
from node.hold import Hold
from node.journal import SEGMENT_BYTES, SEGMENTS_MAX, Journal, Keep
from node.linkkeys import LINK_KEY_MS, LinkKeys
from node.ports import Admission
from node.recall import Recall
from node.replay import CoreJournal
from node.runtime import Runtime, wall_clock
from node.signer import LINK, Signer, plain_coverage
from node.speech import message_check
from node.store.chain import ChainData
from node.store.lmdb import LmdbStore
from node.verifier import SodiumVerifier
from perper_core.agent.handles import Context
from perper_core.agent.host import Host
from perper_core.fabric import LocalFabric
from perper_core.stores.lmdb import LmdbStore as FabricStore

log = logging.getLogger("apocryph.node")

CODE_VERSION = "0.1.0"
INSTANCE_BYTES = 16
GRACE_S = 2.0
DRAIN_S = 0.2  # for what waits to leave, before links close
UNLINK_S = 2.0  # for all links to close
READY_LOOK_AGAIN_S = 1.0
READY_LOOK_S = 0.02  # from what came to a look at the conditions of `ready`
PENDING_MAX = 16_384  # submitted messages whose admission a user waits for
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is started with, from `node.toml` and flags."""

    folder: Path
    spec: ChainSpec
    secret: bytes  # 32 bytes: the peer's Ed25519 seed
    host: str = "127.0.0.1"
    port: int = 0
    peers: tuple[PeerAddress, ...] = ()
    api_host: str = ""  # empty: no gateway
    api_port: int = 0
    api_token: str = ""  # needed for anything but loopback
    mining: bool = True
    journal: str = "ring"
    journal_segment_bytes: int = SEGMENT_BYTES
    journal_segments: int = SEGMENTS_MAX
    keep_heights: int = KEEP_HEIGHTS  # of the published streams
    trace: Callable[[str, str, str], None] | None = None
    name: str = ""
    checkpoint: Checkpoint | None = None
    continues: Path | None = None  # the folder of a node of the chain that this one continues


class StateOfTip:
    """The committed state: reads from the map in memory, scans from the store, in key order."""

    def __init__(self, chain: ChainData, current: Callable[[], StateMap]) -> None:
        self._chain, self._current = chain, current

    def get(self, key: bytes) -> bytes | None:
        return self._current().get(key)

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 1024) -> list[Pair]:
        return self._chain.state.scan(prefix, after, limit)


class Validator:
    """One running node; also the `Face` that its gateway shows to users."""

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.spec = options.spec
        self.instance = os.urandom(INSTANCE_BYTES)
        self.verifier = SodiumVerifier()
        self.started_s = time.monotonic()
        self.committed_listeners: list[Callable[[Commit, Outcome], None]] = []
        self.messages_total = 0  # of accounts, committed since the start
        self.moved = asyncio.Event()  # something came, or was committed, since `when_ready` looked
        self._opened: list[Callable[[], None]] = []
        self._kept_table = b""
        self._kept_owners: list[Peer] = []
        self._clock_told = False

    @property
    def chain_id(self) -> ChainId:
        return self.spec.id

    # ---- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open what is on disk, stand on its tip, start the agents. Raises NodeError."""
        options = self.options
        options.folder.mkdir(parents=True, exist_ok=True)
        store = LmdbStore(options.folder / "chain")
        self._opened.append(store.close)
        self.chain = ChainData(store, chain=self.spec.id, spec=self.spec.raw)
        self.trust = Trust(self.spec, options.folder, options.checkpoint)
        self.trust.check_no_fork()
        if self.chain.height < 0:
            await _in_thread(self._commit_genesis)
        self.signer = Signer.open(
            options.secret,
            options.folder / "sign.db",
            chain=self.spec.id,
            spec_seed=self.spec.seed,
            chain_links=self.spec.parameters.epoch_blocks + 1,
            create=self.chain.height <= 0,
        )
        self._opened.append(self.signer.close)
        self.peer = Peer(self.signer.peer)
        where = str(options.folder / "sign.db")
        self.recall = Recall(self.peer, lambda: self.signer.position, where=where)
        await _in_thread(lambda: self.recall.check_stored(self.chain))
        self.executor = ExecutorAgent(await _in_thread(self._line))
        self.core = self._core()
        table = self.core.engine.machine.tip.view.table
        self.trust.check_start(self.chain, table, self.peer, wall_clock().clock_ms)
        self.fabric = await LocalFabric.open(FabricStore(options.folder / "fabric"))
        self.host = Host(self.fabric, trace=options.trace)
        await self._start_network()
        await self._start_agents()

    def _commit_genesis(self) -> None:
        snapshot = snapshot_for(self.spec, self.options.continues, self.verifier)
        outcome = genesis(self.spec, snapshot)
        self.chain.commit_genesis(outcome.header.raw, outcome.changes, outcome.receipts)

    def _line(self) -> Line:
        """The executor's line on the committed tip; the map is built from the stored state."""
        stored = self.chain.tip()
        assert stored is not None, "genesis is committed"
        header = Header.decode(stored.header)
        tree = StateMap.of(self.chain.state.items())
        if tree.root != header.fields.state_root:
            raise StoreCorrupt(
                f"the state of height {stored.height} does not have the certified root"
            )
        state = self.chain.state
        window, seen = Window.load(state), view(self.spec, state, stored.height)
        line = Line(self.spec, Parent(header, state, tree, seen, window))
        self.state_of_tip = StateOfTip(self.chain, lambda: line.tip.map)
        line.tip = Parent(header, self.state_of_tip, tree, seen, window)
        return line

    def _core(self) -> NodeCore:
        stored = self.chain.tip()
        assert stored is not None, "genesis is committed"
        line_tip = self.executor.line.tip
        certificate = Certificate.decode(stored.certificate) if stored.certificate else None
        due = chain_inbox.next_due_ms(self.chain.state)
        tip = Tip(line_tip.header, certificate, line_tip.view, due)
        record = SignRecord.decode(self.signer.record) if self.signer.record else None
        found = [
            Block(Header.decode(held.header), Body.decode(held.body))
            for held in self.chain.candidates()
        ]
        ids = [message for block in found for message in block.body.messages]
        bodies = [Message.decode(raw) for raw in self.chain.messages(ids) if raw is not None]
        restored = Restored(tip, record, tuple(found), tuple(bodies), self.options.checkpoint)
        return NodeCore(
            self.spec,
            peer=self.peer,
            dice=Dice(os.urandom(32)),
            restored=restored,
            now=wall_clock(),
        )

    async def _start_network(self) -> None:
        options = self.options
        rng = random.SystemRandom()
        network, self.carrier = mesh_network(
            options.host, options.port, draw=rng.randrange, random_bytes=os.urandom
        )
        self.network: Network = network
        self.inbox = Inbox()
        self._identity = LinkIdentity(
            peer=self.peer,
            network=self.spec.id,
            secret=LinkKeys(
                self.spec.id,
                self.peer,
                sign=lambda statement: self.signer.sign_plain(LINK, self.spec.id, statement),
                clock_ms=lambda: wall_clock().clock_ms,
                random_bytes=os.urandom,
                life_ms=LINK_KEY_MS,
            ),
            verify=lambda peer, unsigned, signed: self.verifier.verify(
                peer, plain_coverage(LINK, self.spec.id, unsigned), signed
            ),
            instance=self.instance,
            chains=(self.spec.id,),
        )

    async def _start_agents(self) -> None:
        await self.host.start(self.executor, "executor")
        self.consensus = ConsensusAgent(
            self._runtime, self.chain, keep_heights=self.options.keep_heights
        )
        self.hill = HillAgent(
            self.spec, signer=self.signer, offer=self._offer, mining=self.options.mining
        )
        await self.host.start(self.hill, "hill")
        await self.host.start(self.consensus, "consensus")
        self.gossip = GossipAgent(
            self.network,
            self.inbox,
            chain_id=self.spec.id,
            core=self.core,
            chain=self.chain,
            verifier=self.verifier,
            offer=self._offer,
            on_twin=self._on_twin,
            recall=self.recall,
            twins=Twins(
                self.spec.id,
                self.peer,
                self.instance,
                sign=self.signer.answer_challenge,
                verifier=self.verifier,
                random_bytes=os.urandom,
                clock=time.monotonic,
                found=self._on_twin,
            ),
            affordable=lambda message: self._refusal(message) is None,
            friends=[address.peer for address in self.options.peers],
        )
        await self.host.start(self.gossip, "gossip")
        await self.network.start(self._identity, self.inbox)
        self.network.connect(self.options.peers, keep=True)
        self._keep_owners(self.core.engine.machine.tip.view)
        self.hill.observe(self.core.engine.machine.tip.view)
        if self.options.api_host:
            self.gateway = GatewayAgent(
                self,
                host=self.options.api_host,
                port=self.options.api_port,
                token=self.options.api_token,
            )
            await self.host.start(self.gateway, "gateway")
        self._look_at_clock()

    def _runtime(self, context: Context) -> Runtime:
        executor = FabricExecutor(context, self.executor, self.state_of_tip, "executor")
        options = self.options
        journal = Journal(
            options.folder / "journal",
            code_version=CODE_VERSION,
            snapshot=self.core.snapshot,
            keep=Keep(options.journal),
            segment_bytes=options.journal_segment_bytes,
            segments_max=options.journal_segments,
        )
        self._opened.append(journal.close)
        runtime = Runtime(
            self.core,
            signer=self.signer,
            chain=self.chain,
            executor=executor,
            outbound=self,
            streams=self.consensus,
            journal=None if journal.keep is Keep.OFF else CoreJournal(journal),
            hold=Hold(self.core),
        )
        runtime.on_committed = self._on_committed
        runtime.check = lambda effect: self.recall.check(effect.certificate, effect.block.body)
        runtime.on_forked = self.trust.keep_fork
        self.runtime = runtime
        return runtime

    def send(self, effect: Gossip | Ask | Reply | Verdict | Blame) -> None:
        """The runtime's outbound port: the gossip agent, once it is there."""
        if hasattr(self, "gossip"):
            self.gossip.send(effect)

    def _on_twin(self, proof: str) -> None:
        cause = f"this key runs, or ran, in another place: {proof}"
        hint = (
            "stop the other node that runs with this key; where there is none, sign.db comes from"
            " a backup: put the newest one back"
        )
        self.runtime.fail(TwinFound(cause, hint=hint))

    def _offer(self, event: Event) -> bool:
        self.moved.set()
        return self.runtime.offer(event)

    async def when_ready(self) -> None:
        """Until all conditions of `ready` hold: links, their tips, and blocks bring them about."""
        while not self.ready[0]:
            self.moved.clear()
            with suppress(TimeoutError):  # a clock that catches up moves nothing
                await asyncio.wait_for(self.moved.wait(), READY_LOOK_AGAIN_S)
            await asyncio.sleep(READY_LOOK_S)  # the core hears of it meanwhile

    def _keep_owners(self, seen: View) -> None:
        """Owners of the table have a place and are throttled, not banned (network §3)."""
        if seen.table.hash == self._kept_table:
            return
        reserved = {self.peer: None, **dict.fromkeys(each.peer for each in self.options.peers)}
        owners = [peer for peer in seen.table.weights if peer not in reserved]
        gone = [peer for peer in self._kept_owners if peer not in owners]
        self.network.connect([PeerAddress(peer, "", 0) for peer in owners], keep=True)
        self.network.connect([PeerAddress(peer, "", 0) for peer in gone], keep=False)
        self._kept_table, self._kept_owners = seen.table.hash, owners

    def _on_committed(self, effect: Commit, outcome: Outcome) -> None:
        self.moved.set()
        self.messages_total += len(effect.block.body.messages)
        self.hill.observe(outcome.view)
        self._keep_owners(outcome.view)
        self.trust.check_passed(effect.block.header, wall_clock().clock_ms)
        self._look_at_clock()
        for listener in self.committed_listeners:
            listener(effect, outcome)

    def _look_at_clock(self) -> None:
        """One line when the chain's clock is ahead of this machine's, and one when it is right."""
        ahead_ms = telling.tip_ahead_ms(self)
        if ahead_ms > telling.TIP_AHEAD_MS_MAX and not self._clock_told:
            self._clock_told = True
            log.warning(
                "the newest block is %d s ahead of this machine's clock; blocks wait for the clock:"
                " check it (timedatectl), and those of the other validators",
                ahead_ms // 1000,
            )
        elif not ahead_ms and self._clock_told:
            self._clock_told = False
            log.info("this machine's clock has passed the newest block")

    async def run(self) -> None:
        """Until stopped; raises what crashed an agent, or Halted."""
        await self.host.run()

    async def stop(self) -> None:
        """Links, agents, fabric, stores, in this order, as far as it was started. What one of them
        raises keeps none of the others from its end."""
        async with AsyncExitStack() as ends:
            for close in (*self._opened, self.verifier.close):
                ends.callback(close)
            if hasattr(self, "fabric"):
                ends.push_async_callback(self.fabric.close)
            if hasattr(self, "host"):
                ends.push_async_callback(self.host.stop, grace_s=GRACE_S)
            if hasattr(self, "network"):
                ends.push_async_callback(self._unlink)

    async def _unlink(self) -> None:
        try:
            async with asyncio.timeout(UNLINK_S):
                await self.network.close(DRAIN_S)
        except TimeoutError:
            log.error("links did not close in %g s", UNLINK_S)

    # ---- node.ports.Face ------------------------------------------------------------------------

    async def submit(self, messages: Sequence[Message]) -> list[Admission]:
        """Verify, check funds on the committed state, offer to the core."""
        checks = [message_check(message) for message in messages]
        verdicts = await asyncio.to_thread(self.verifier.verify_many, checks)
        found: dict[MessageId, Admission] = {}
        good = []
        for message, verdict in zip(messages, verdicts, strict=True):
            refusal = self._refusal(message) if verdict else _bad_signature(message)
            if refusal is None:
                good.append(message)
            else:
                found[message.id] = refusal
        if good:
            refused = await self.runtime.submit(MessagesReceived(0, tuple(good), None))
            if refused is None:
                busy = "too many events wait in this node"
                found |= {m.id: Admission(m.id, "Busy", busy) for m in good}
            else:
                found |= {r.message: Admission(r.message, r.code, r.cause) for r in refused}
        return [found.get(message.id, Admission(message.id)) for message in messages]

    def _refusal(self, message: Message) -> Admission | None:
        """What the committed state says against a message already (protocol §9: pool)."""
        state = self.chain.state
        if state.get(agent_key(message.to.agent)) is None:
            return Admission(message.id, "UnknownAgent", "no agent has this id on this chain")
        if message.gas_max < MESSAGE_GAS:
            cause = f"gas_max {message.gas_max} is less than a message costs ({MESSAGE_GAS})"
            return Admission(message.id, "TooLittleGas", cause)
        balance = read_balance(state, message.sender)
        if balance < message.gas_max + message.pay:
            cause = f"the account has {balance}, gas_max and pay need more"
            return Admission(message.id, "NoFunds", cause)
        return None

    def state(self) -> tuple[int, State]:
        return self.chain.height, self.chain.state

    async def prove(self, key: bytes) -> tuple[int, bytes]:
        async with self.executor.still():
            tip = self.executor.line.tip
            return tip.header.height, tip.map.prove(key).encode()

    def pending(self, message: MessageId) -> Message | None:
        return self.core.messages.messages.get(message)

    def listen(
        self, committed: Callable[[Commit, Outcome], None], refused: Callable[[Refused], None]
    ) -> None:
        self.committed_listeners.append(committed)
        self.runtime.on_refused = refused

    def status(self) -> dict[str, Any]:
        return telling.status(self)

    def peers(self) -> list[dict[str, Any]]:
        return telling.peers(self)

    def counters(self) -> dict[str, int | float]:
        return telling.counters(self)

    @property
    def ready(self) -> tuple[bool, dict[str, bool]]:
        return telling.readiness(self)


def _bad_signature(message: Message) -> Admission:
    return Admission(message.id, "Signature", "the signature does not verify for this sender")


async def _in_thread(work: Callable[[], Result]) -> Result:
    """Work on the stores: one that is cancelled ends first, or they would be closed under it."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
