"""The composition root of a node: picks stores, network, clock and dice; starts and stops agents.

Everything below is given what it needs; nothing below picks for itself.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.block import Block, Body, Header
from consensus.certificates import Certificate
from consensus.dice import Dice
from consensus.effects import Ask, Blame, Commit, Gossip, Refused, Reply, Verdict
from consensus.events import Event, LinkUp, MessagesReceived
from consensus.ids import ChainId, MessageId, Peer, hash_text, id_text, peer_text
from consensus.messages import Message
from consensus.signing import SignRecord
from consensus.spec import ChainSpec
from consensus.standing import Tip
from consensus.state import Pair, State
from consensus.statemap import StateMap
from consensus.transition import View, view
from network import linkkey
from network.inbox import Inbox
from network.mesh.mesh import mesh_network
from network.mesh.noise import public_key
from network.ports import LinkIdentity, LinkSecret, Network, PeerAddress
from node.agents.consensus import KEEP_HEIGHTS, ConsensusAgent
from node.agents.executor import ExecutorAgent, FabricExecutor
from node.agents.gateway import GatewayAgent
from node.agents.gossip import GossipAgent
from node.agents.hill import HillAgent
from node.core import NodeCore, Restored
from node.errors import StoreCorrupt, TwinFound
from node.execution import inbox as chain_inbox
from node.execution.genesis import genesis
from node.execution.keys import agent_key, read_balance
from node.execution.line import Line
from node.execution.ports import Outcome, Parent
from node.execution.prices import MESSAGE_GAS
from node.execution.window import Window
from node.journal import SEGMENT_BYTES, SEGMENTS_MAX, Journal, Keep
from node.ports import Admission
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
LINK_KEY_MS = 24 * 3600 * 1000
INSTANCE_BYTES = 16
GRACE_S = 2.0
PENDING_MAX = 16_384  # submitted messages whose admission a user waits for


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
        self.linked = asyncio.Event()  # a link came up since `when_ready` looked
        self._opened: list[Callable[[], None]] = []
        self._kept_table = b""
        self._kept_owners: list[Peer] = []

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
        if self.chain.height < 0:
            self._commit_genesis()
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
        self.executor = ExecutorAgent(await asyncio.to_thread(self._line))
        self.core = self._core()
        self.fabric = await LocalFabric.open(FabricStore(options.folder / "fabric"))
        self.host = Host(self.fabric, trace=options.trace)
        await self._start_network()
        await self._start_agents()

    def _commit_genesis(self) -> None:
        outcome = genesis(self.spec)
        self.chain.commit(
            height=0,
            header=outcome.header.raw,
            body=b"",
            certificate=b"",
            bodies={},
            changes=outcome.changes,
            receipts=outcome.receipts,
        )

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
        restored = Restored(tip, record, tuple(found), tuple(bodies))
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
        static = os.urandom(32)
        not_after = wall_clock().clock_ms + LINK_KEY_MS
        statement = linkkey.unsigned(self.spec.id, self.peer, public_key(static), not_after)
        signature = self.signer.sign_plain(LINK, self.spec.id, statement)
        secret = LinkSecret(static, linkkey.signed(statement, signature))
        self._identity = LinkIdentity(
            peer=self.peer,
            network=self.spec.id,
            secret=lambda: secret,
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
            affordable=lambda message: self._refusal(message) is None,
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
        )
        runtime.on_committed = self._on_committed
        self.runtime = runtime
        return runtime

    def send(self, effect: Gossip | Ask | Reply | Verdict | Blame) -> None:
        """The runtime's outbound port: the gossip agent, once it is there."""
        if hasattr(self, "gossip"):
            self.gossip.send(effect)

    def _on_twin(self, where: str) -> None:
        cause = f"this key has signed elsewhere, beyond what this node remembers: {where}"
        hint = "stop the other node that runs with this key; then start this one again"
        self.runtime.fail(TwinFound(cause, hint=hint))

    def _offer(self, event: Event) -> bool:
        if type(event) is LinkUp:
            self.linked.set()
        return self.runtime.offer(event)

    async def when_ready(self) -> None:
        """Until all conditions of `ready` hold, which links bring about."""
        while not self.ready[0]:
            self.linked.clear()
            await self.linked.wait()

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
        self.messages_total += len(effect.block.body.messages)
        self.hill.observe(outcome.view)
        self._keep_owners(outcome.view)
        for listener in self.committed_listeners:
            listener(effect, outcome)

    async def run(self) -> None:
        """Until stopped; raises what crashed an agent, or Halted."""
        await self.host.run()

    async def stop(self) -> None:
        """Agents, links, fabric, stores, in this order."""
        if hasattr(self, "host"):
            await self.network.close(0.2)
            await self.host.stop(grace_s=GRACE_S)
            await self.fabric.close()
        self.verifier.close()
        for close in reversed(self._opened):
            close()

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
        """What `/v1/status` shows; numbers of the tip unless said otherwise."""
        machine = self.core.engine.machine
        fields, standing = machine.tip.header.fields, machine.standing
        certificate = machine.tip.certificate
        snowball = standing.snowball
        return {
            "name": self.options.name,
            "peer": peer_text(self.peer),
            "chain": id_text(self.spec.id),
            "chain_name": self.spec.name,
            "height": fields.height,
            "block": id_text(machine.tip.header.id),
            "state_root": hash_text(fields.state_root),
            "time_ms": fields.time_ms,
            "epoch": standing.epoch,
            "slots": machine.weight,
            "slots_occupied": standing.votes.occupied,
            "signatures": 0 if certificate is None else len(certificate.signatures),
            "deciding": {
                "height": standing.height,
                "round": standing.round,
                "preference": None
                if snowball is None or snowball.preference is None
                else id_text(snowball.preference),
                "streak": 0 if snowball is None else snowball.streak,
                "settled": standing.settled,
                "candidates": len(standing.candidates),
                "quiet": standing.clock_ms is None,
            },
            "settle_ms": self.runtime.settle_ms,
            "messages_total": self.messages_total,
            "pool": len(self.core.messages.messages),
            "pool_bytes": self.core.messages.size,
            "peers": len(self.network.peers()),
            "halted": self.runtime.halted,
        }

    def peers(self) -> list[dict[str, Any]]:
        return [
            {
                "peer": peer_text(info.peer),
                "address": f"{info.host}:{info.port}",
                "outbound": info.outbound,
                "rtt_ms": info.rtt_ms,
                "score": info.score,
                "cause": info.cause,
                "sent_bytes": info.sent_bytes,
                "received_bytes": info.received_bytes,
                "dropped": info.dropped,
            }
            for info in self.network.peers()
        ]

    def counters(self) -> dict[str, int | float]:
        machine = self.core.engine.machine
        return {
            "height": machine.tip.header.fields.height,
            "round": machine.standing.round,
            "settle_ms": self.runtime.settle_ms or 0,
            "messages_total": self.messages_total,
            "slots": machine.weight,
            "peers": len(self.network.peers()),
            "pool_messages": len(self.core.messages.messages),
            "pool_bytes": self.core.messages.size,
            "events_total": self.runtime.events,
            "events_dropped_total": self.runtime.dropped,
            "signatures_verified_total": self.verifier.verified_count,
            "signed_total": self.signer.signed_count,
            "sign_refused_total": self.signer.refused_count,
            "hill_hashes_total": self.hill.hashed,
            "hill_facts_total": self.hill.found,
            "halted": int(bool(self.runtime.halted)),
            **{f"gossip_{topic}_total": n for topic, n in self.gossip.received.items()},
            **{f"refused_{cause}_total": n for cause, n in self.gossip.refused.items()},
            **{f"ignored_{cause}_total": n for cause, n in self.gossip.ignored.items()},
            "links_lost_total": self.gossip.lost,
            "links_banned_total": self.gossip.banned,
            "inbox_dropped_total": sum(self.inbox.dropped_total),
            "flood_dropped_total": self.gossip.flooded,
        }

    @property
    def ready(self) -> tuple[bool, dict[str, bool]]:
        """Linked to more than two thirds of the slots, this peer's own included; not halted."""
        weights = self.core.engine.machine.standing.votes.weights
        linked = weights.get(self.peer, 0)
        linked += sum(weights.get(peer, 0) for peer in self.gossip.peers if peer != self.peer)
        conditions = {
            "linked": 3 * linked > 2 * sum(weights.values()),
            "running": not self.runtime.halted,
        }
        return all(conditions.values()), conditions


def _bad_signature(message: Message) -> Admission:
    return Admission(message.id, "Signature", "the signature does not verify for this sender")
