"""The gossip agent: the network port on one side, judged events on the other.

Inward: bounded, decoded, signatures verified in batches in threads, blamed when wrong in itself.
Outward: records to topics, asks to peers, answers from the store. Knows the wire, not the rules.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from consensus.effects import (
    BLOCK,
    BODIES,
    CERT,
    FACTS,
    MESSAGES,
    POLL,
    PROPOSALS,
    TIP,
    VOTES,
    Ask,
    Blame,
    Gossip,
    Reply,
    Verdict,
)
from consensus.errors import ConsensusError
from consensus.events import (
    AskFailed,
    CertificateReceived,
    Event,
    LinkDown,
    LinkUp,
    ProposalReceived,
)
from consensus.ids import ChainId, Peer, id_text
from consensus.messages import Message
from network import errors as network_errors
from network.inbox import Inbox
from network.ports import Class, Dropped, Health, Network
from network.ports import Gossip as Arrived
from network.ports import LinkDown as LinkLost
from network.ports import LinkUp as LinkMade
from network.ports import Verdict as Judgement
from node.agents.library import Librarian
from node.agents.screening import Screening, Turned, turned
from node.agents.twins import STATEMENT_BYTES_MAX, Twins
from node.agents.twins import TOPIC as TWINS_TOPIC
from node.core import NodeCore
from node.recall import Recall
from node.speech import (
    NONE,
    REPLIES_MAX,
    REQUEST_BYTES_MAX,
    TOPIC_BYTES_MAX,
    TOPICS,
    Heard,
    asked,
    batches,
    certificate_checks,
    hear,
    read_reply,
)
from node.store.chain import ChainData
from node.verifier import SodiumVerifier
from perper_core.agent.agent import Agent, on
from perper_core.agent.handles import Context
from perper_core.values import Value

log = logging.getLogger("apocryph.gossip")

PUSHED_INFLIGHT = 4  # certificates of one peer being verified
OUTBOX_MS = 4  # messages of users wait this long for others to share a payload
OUTBOX_MAX = 8_192
QUERIES_OPEN_MAX = 1_024  # polls of peers waiting for the core
INFLIGHT_PER_PEER = 64
REJECT_POINTS = 10
VERIFY_INLINE_MAX = 8  # fewer signatures than this are judged on the loop
GOSSIP_EXPIRES_S = 10.0
POLL_WAIT_S = 1.0

CLASSES = {
    VOTES: Class.VOTE,
    FACTS: Class.MESSAGE,
    PROPOSALS: Class.PROPOSAL,
    MESSAGES: Class.MESSAGE,
}
QUERY_CLASSES = {
    POLL: Class.POLL,
    CERT: Class.POLL,
    TIP: Class.POLL,
    BLOCK: Class.PROPOSAL,
    BODIES: Class.PROPOSAL,
}


class GossipAgent(Agent):
    """Outbound of the runtime; offers events to it. One instance a chain."""

    def __init__(
        self,
        network: Network,
        inbox: Inbox,
        *,
        chain_id: ChainId,
        core: NodeCore,
        chain: ChainData,
        verifier: SodiumVerifier,
        offer: Callable[[Event], bool],
        on_twin: Callable[[str], None],
        recall: Recall,
        affordable: Callable[[Message], bool],
        twins: Twins,
        friends: Collection[bytes] = (),  # peers that the operator has named
    ) -> None:
        self._twins = twins
        self._friends = frozenset(friends)
        self.on_twin, self._recall = on_twin, recall
        self.screening = Screening(core, affordable, lambda vote: recall.unknown(vote) is not None)
        self.network, self.inbox = network, inbox
        self.core, self.chain, self.verifier, self.offer = core, chain, verifier, offer
        self.received: dict[str, int] = dict.fromkeys(TOPICS, 0)
        self.refused: dict[str, int] = {}  # by cause: wrong in itself
        self.ignored: dict[str, int] = {}  # by cause: early, late, known, unknown, too much
        self.peers: dict[Peer, None] = {}
        self.lost = 0  # links that ended
        self.banned = 0  # of them, by blame
        self.flooded = 0  # gossips beyond what a link may send, dropped by the network
        self.library = Librarian(chain, core, chain_id, self._known)
        self._chain_id = chain_id
        self._prefix = f"apx/{id_text(chain_id)}/"
        self._names = {self._prefix + topic: topic for topic in TOPICS}
        self._outbox: list[bytes] = []
        self._queries: dict[int, asyncio.Future[bytes]] = {}
        self._asked = 0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @on("Start")
    async def start(self, context: Context, argument: Value) -> None:
        for topic in TOPICS:
            self.network.subscribe(self._prefix + topic, TOPIC_BYTES_MAX[topic])
        self.network.subscribe(self._prefix + TWINS_TOPIC, STATEMENT_BYTES_MAX)
        for proto in (POLL, CERT, TIP, BLOCK, BODIES):
            inflight = PUSHED_INFLIGHT if proto == CERT else INFLIGHT_PER_PEER
            self.network.serve(proto, REQUEST_BYTES_MAX, inflight, self._server(proto))
        context.spawn(self._pump(), name="gossip")

    # ---- inward ---------------------------------------------------------------------------------

    async def _pump(self) -> None:
        while True:
            heard: list[tuple[Arrived, Heard]] = []
            for item in await self.inbox.take():
                match item:
                    case Arrived():
                        found = self._hear(item)
                        if found is not None:
                            heard.append((item, found))
                    case LinkMade():
                        self.peers[Peer(item.peer)] = None
                        self.offer(LinkUp(Peer(item.peer)))
                    case LinkLost():
                        self.peers.pop(Peer(item.peer), None)
                        self.library.left(Peer(item.peer))
                        self.lost += 1
                        self.banned += item.cause.startswith("banned")
                        self.offer(LinkDown(Peer(item.peer)))
                    case Health(state="twin"):
                        self._count(self.ignored, "twin_hint")
                        self._tell_twin(self._twins.challenge())
                    case Dropped():
                        self.flooded += item.n if item.why == "flood" else 0
                        log.info("network: %s", item)
                    case _:
                        log.info("network: %s", item)
            if heard:
                await self._judge(heard)

    def _hear(self, item: Arrived) -> Heard | None:
        if item.topic == self._prefix + TWINS_TOPIC:
            self._hear_instance(item)
            return None
        topic = self._names.get(item.topic)
        source = None if item.origin.link is None else Peer(item.origin.link)
        if topic is None:
            return None
        self.received[topic] += 1
        if item.cls is not CLASSES[topic]:
            self._refuse(item, "class")
            return None
        try:
            heard = hear(topic, item.data, item.token, source)
        except ConsensusError as error:
            self._refuse(item, error.code)
            return None
        found = self.screening.look(heard)
        if not isinstance(found, Turned):
            return found
        if found.blame:
            self._refuse(item, found.cause)
        else:
            self._ignore(item, found.cause)
        return None

    def _hear_instance(self, item: Arrived) -> None:
        """A challenge or an answer of whoever may have a twin; ours may be meant."""
        try:
            found = self._twins.hear(item.data, self.screening.owns)
        except ConsensusError as error:
            self._refuse(item, error.code)
            return
        if found.verdict is Judgement.REJECT:
            self._count(self.refused, found.cause)
        self.network.verdict(item.token, found.verdict, found.key, found.cause)
        if found.answer:
            self._tell_twin(found.answer)
            self._tell_twin(self._twins.challenge())

    def _tell_twin(self, statement: bytes) -> None:
        if statement:
            expires = self._loop.time() + GOSSIP_EXPIRES_S
            topic = self._prefix + TWINS_TOPIC
            self.network.publish(topic, statement, Class.MESSAGE, statement, expires)

    def _refuse(self, item: Arrived, cause: str) -> None:
        """Wrong in itself: blame the link, count it."""
        self._count(self.refused, cause)
        self.network.verdict(item.token, Judgement.REJECT, None, cause)

    def _ignore(self, item: Arrived, cause: str) -> None:
        """Early, late, known, unknown: counted, nobody is blamed."""
        self._count(self.ignored, cause)
        self.network.verdict(item.token, Judgement.IGNORE, None, cause)

    @staticmethod
    def _count(table: dict[str, int], cause: str) -> None:
        table[cause] = table.get(cause, 0) + 1

    async def _judge(self, heard: Sequence[tuple[Arrived, Heard]]) -> None:
        """Signatures of all that arrived together, in threads when there are many."""
        heard = [(item, found) for item, found in heard if self._author_signed(item, found)]
        checks = [check for _, found in heard for check in found.signed]
        if len(checks) <= VERIFY_INLINE_MAX:
            verdicts = [self.verifier.verify(*check) for check in checks]
        else:
            verdicts = await asyncio.to_thread(self.verifier.verify_many, checks)
        place = 0
        for item, found in heard:
            size = len(found.signed)
            if all(verdicts[place : place + size]):
                unknown = self._recall.heard(found.event)
                if unknown:  # this key signs elsewhere, or the record is an old one (protocol §7)
                    self.on_twin(f"it has signed {unknown}, which this node does not remember")
                self.screening.count(found)
                self.offer(found.event)
            else:
                self._refuse(item, "signature")
            place += size

    def _author_signed(self, item: Arrived, found: Heard) -> bool:
        """A proposal holds hundreds of signatures: its author's is judged before the others."""
        if type(found.event) is not ProposalReceived or self.verifier.verify(*found.signed[0]):
            return True
        self._refuse(item, "signature")
        return False

    # ---- queries of peers -----------------------------------------------------------------------

    def _server(self, proto: str) -> Callable[[bytes, bytes], "bytes | Awaitable[bytes]"]:
        if proto in (POLL, CERT):
            return lambda peer, data: self._engine_query(proto, Peer(peer), data)
        return lambda peer, data: self._library_query(proto, Peer(peer), data)

    def _blame(self, peer: Peer, cause: str) -> None:
        """What a peer asked or answered is wrong in itself."""
        self._count(self.refused, cause)
        self.network.blame(peer, REJECT_POINTS, cause)

    def _known(self, peer: Peer) -> bool:
        """Owns slots now, or was named by the operator: asks for more than strangers may."""
        return peer in self._friends or peer in self.core.engine.machine.standing.votes.weights

    async def _library_query(self, proto: str, peer: Peer, data: bytes) -> bytes:
        try:
            return await self.library.answer(peer, proto, data)
        except ConsensusError as error:
            self._blame(peer, error.code)
            raise network_errors.Refused(error.code) from error
        except network_errors.Busy:
            self._count(self.ignored, "queries")
            raise

    def _engine_query(self, proto: str, peer: Peer, data: bytes) -> "bytes | Awaitable[bytes]":
        if len(self._queries) >= QUERIES_OPEN_MAX:
            self._count(self.ignored, "queries")
            raise network_errors.Busy("polls")
        try:
            if proto == POLL:
                past = self.library.past(peer, data)
                if past is not None:
                    return past
                self.library.count_poll(peer)
            event = asked(proto, data, self._asked + 1, peer, self._chain_id)
        except ConsensusError as error:
            self._blame(peer, error.code)
            raise network_errors.Refused(error.code) from error
        except network_errors.Busy:
            self._count(self.ignored, "queries")
            raise
        if isinstance(event, CertificateReceived):
            return self._pushed(event, peer)
        self._asked += 1
        query = self._asked
        future: asyncio.Future[bytes] = self._loop.create_future()
        self._queries[query] = future
        self._loop.call_later(POLL_WAIT_S, self._forget_query, query)
        if not self.offer(event):
            self._forget_query(query)
        return future

    def _pushed(self, event: CertificateReceived, peer: Peer) -> "bytes | Awaitable[bytes]":
        """Somebody sends a certificate unasked: its signatures are dear, so they come last."""
        cause = self.screening.certificate(event.certificate)
        if not cause:
            return self._verify_pushed(event, peer)
        if turned(cause).blame:
            self._blame(peer, cause)
        else:
            self._count(self.ignored, cause)
        return NONE

    async def _verify_pushed(self, event: CertificateReceived, peer: Peer) -> bytes:
        checks = certificate_checks(event.certificate)
        if len(checks) <= VERIFY_INLINE_MAX:
            verdicts = [self.verifier.verify(*check) for check in checks]
        else:
            verdicts = await asyncio.to_thread(self.verifier.verify_many, checks)
        if all(verdicts):
            self.offer(event)
        else:
            self._blame(peer, "signature")
        return NONE

    def _forget_query(self, query: int) -> None:
        future = self._queries.pop(query, None)
        if future is not None and not future.done():
            future.set_result(NONE)

    # ---- outward --------------------------------------------------------------------------------

    def send(self, effect: Gossip | Ask | Reply | Verdict | Blame) -> None:
        """Perform one effect of the core; never waits."""
        match effect:
            case Gossip():
                self._gossip(effect)
            case Reply():
                future = self._queries.pop(effect.query, None)
                if future is not None and not future.done():
                    future.set_result(effect.data)
            case Ask():
                self._spawn(self._ask(effect))
            case Verdict():
                for token, verdict, key, cause in effect.items:
                    judgement = Judgement(verdict)
                    if judgement is Judgement.REJECT:
                        self._count(self.refused, "rules")
                    self.network.verdict(token, judgement, key or None, cause)
            case Blame():
                self.network.blame(effect.peer, effect.points, effect.cause)

    def _gossip(self, effect: Gossip) -> None:
        if effect.topic == MESSAGES:
            if not self._outbox:
                self._loop.call_later(OUTBOX_MS / 1000, self._flush)
            self._outbox += [record for _, record in effect.items]
            if len(self._outbox) >= OUTBOX_MAX:
                self._flush()
            return
        for key, record in effect.items:
            self._publish(effect.topic, record, key)

    def _flush(self) -> None:
        records, self._outbox = self._outbox, []
        for payload in batches(records):
            self._publish(MESSAGES, payload, b"")

    def _publish(self, topic: str, data: bytes, key: bytes) -> None:
        expires = self._loop.time() + GOSSIP_EXPIRES_S
        self.network.publish(self._prefix + topic, data, CLASSES[topic], key, expires)

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]") -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, effect: Ask) -> None:
        """One query; its outcome is always one event or more."""
        deadline = effect.deadline_ms / 1000
        proto = effect.proto
        try:
            raw = await self.network.query(
                effect.peer, proto, effect.data, QUERY_CLASSES[proto], deadline, REPLIES_MAX[proto]
            )
        except network_errors.NetworkError:
            self.offer(AskFailed(effect.ask, effect.peer))
            return
        try:
            if len(raw) > VERIFY_INLINE_MAX * 1024:
                events = await asyncio.to_thread(
                    read_reply, proto, raw, effect.ask, effect.peer, self.verifier
                )
            else:
                events = read_reply(proto, raw, effect.ask, effect.peer, self.verifier)
        except ConsensusError as error:
            self._blame(effect.peer, error.code)
            events = [AskFailed(effect.ask, effect.peer)]
        for event in events:
            self.offer(event)
