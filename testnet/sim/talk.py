"""What a simulated node says and hears: node.agents.gossip without asyncio.

Inward: bounded, decoded, screened, signatures judged, then an event. Outward: gossip, queries,
answers from what is stored. Knows the wire, not the rules.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from consensus.certificates import Vote
from consensus.effects import CERT, MESSAGES, POLL, Ask, Gossip, Reply, Verdict
from consensus.errors import ConsensusError
from consensus.events import AskFailed, CertificateReceived, PollReceived
from consensus.ids import BlockId, MessageId, Peer
from node.agents.screening import Screening, Turned
from node.speech import (
    NONE,
    REPLIES_MAX,
    TOPIC_BYTES_MAX,
    Heard,
    Held,
    answer,
    answer_past,
    batches,
    certificate_checks,
)
from testnet.sim.ears import Sound, from_source, verified

if TYPE_CHECKING:
    from testnet.sim.host import Host

OUTBOX_MS: Final = 4  # messages of users wait this long for others, as in the gossip agent
OUTBOX_MAX: Final = 8_192
QUERIES_OPEN_MAX: Final = 1_024
TWIN: Final = "twin"


class Talk:
    """Of one life of a host."""

    def __init__(self, host: "Host") -> None:
        assert host.core is not None, "a host that is up"
        self.host, self.core, self.ears = host, host.core, host.world.ears
        # The block judges funds.
        self.screening = Screening(host.core, lambda message: True, self._is_unknown)
        self.link = Peer(b"")  # by which the gossip came that is being handled
        self.verdict = ""  # of the gossip being handled
        self._queries: dict[int, Callable[[bytes], None]] = {}
        self._asked = 0
        self._outbox: list[bytes] = []

    # ---- outward --------------------------------------------------------------------------------

    def gossip(self, effect: Gossip) -> None:
        if effect.topic == MESSAGES:
            if not self._outbox:
                self.host.later(OUTBOX_MS, self._flush)
            self._outbox += [record for _, record in effect.items]
            if len(self._outbox) >= OUTBOX_MAX:
                self._flush()
            return
        for _, record in effect.items:
            self.host.wires.gossip(self.host.peer, effect.topic, record)

    def _flush(self) -> None:
        records, self._outbox = self._outbox, []
        for payload in batches(records):
            self.host.wires.gossip(self.host.peer, MESSAGES, payload)

    def ask(self, effect: Ask) -> None:
        """One query; its outcome is always one event or more."""
        host, life, answered = self.host, self.host.life, [False]

        def done(raw: bytes) -> None:
            if answered[0] or host.life != life:
                return
            answered[0] = True
            self._read(effect, raw)

        def fail() -> None:
            if not answered[0]:
                answered[0] = True
                host.take(AskFailed(effect.ask, effect.peer))

        host.wires.ask(host.peer, effect.peer, effect, done)
        host.later(effect.deadline_ms - host.simulator.now().monotonic_ms, fail)

    def _read(self, effect: Ask, raw: bytes) -> None:
        host = self.host
        try:
            if len(raw) > REPLIES_MAX[effect.proto]:
                raise ConsensusError(f"{effect.proto}: a reply beyond its bound")
            events = self.ears.read_reply(effect.proto, raw, effect.ask, effect.peer)
        except ConsensusError as error:
            host.report_blame(effect.peer, str(error))
            events = [AskFailed(effect.ask, effect.peer)]
        for event in events:
            host.take(event)

    def reply(self, effect: Reply) -> None:
        reply = self._queries.pop(effect.query, None)
        if reply is not None:
            reply(effect.data)

    def verdicts(self, effect: Verdict) -> None:
        for _, verdict, _, cause in effect.items:
            self.verdict = verdict
            if verdict == "reject":
                self.host.report_blame(self.link, cause)

    # ---- inward: gossip -------------------------------------------------------------------------

    def hear(self, topic: str, data: bytes, source: Peer) -> str:
        """Gossip arrives; the verdict: accept | ignore | reject."""
        host = self.host
        if len(data) > TOPIC_BYTES_MAX[topic]:
            return self._refuse(source, f"{topic}: beyond its bound")
        sound: Sound = self.ears.sounds.get(topic, data)
        if sound.heard is None:
            return self._refuse(source, sound.error)
        heard = from_source(sound.heard, source)
        found = self.screening.look(heard)
        if isinstance(found, Turned):
            return self._refuse(source, found.cause) if found.blame else "ignore"
        whole = len(found.signed) == len(heard.signed)
        if not (sound.holds(host.keys) if whole else verified(host.keys, found.signed)):
            return self._refuse(source, "signature")
        if host.careful and host.recall.heard(found.event):
            host.stop(TWIN)  # protocol §7: an own signature that is newer than the record
            return "ignore"
        return self._take(found, source)

    def _take(self, found: Heard, source: Peer) -> str:
        self.screening.count(found)
        self.link, self.verdict = source, "ignore"
        self.host.take(found.event)
        return self.verdict

    def _refuse(self, source: Peer, cause: str) -> str:
        self.host.report_blame(source, cause)
        return "reject"

    def _is_unknown(self, vote: Vote) -> bool:
        return self.host.recall.unknown(vote) is not None

    # ---- inward: queries ------------------------------------------------------------------------

    def serve(self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        """A query arrives."""
        try:
            if proto not in (POLL, CERT):
                reply(answer(self, proto, data))
                return
            self._asked += 1
            event = self.ears.asked(proto, data, self._asked, source)
        except ConsensusError as error:
            self.host.report_blame(source, str(error))
            return
        if isinstance(event, CertificateReceived):
            self._pushed(event, source, reply)
            return
        if isinstance(event, PollReceived) and event.height <= self.tip():
            past = answer_past(self, data, self.host.spec.id)
            if past is not None:
                reply(past)
                return
        if len(self._queries) < QUERIES_OPEN_MAX:
            self._queries[self._asked] = reply
            self.host.take(event)

    def _pushed(
        self, event: CertificateReceived, source: Peer, reply: Callable[[bytes], None]
    ) -> None:
        """Somebody sends a certificate unasked."""
        if not self.screening.certificate(event.certificate):
            if verified(self.host.keys, certificate_checks(event.certificate)):
                self.host.take(event)
            else:
                self.host.report_blame(source, "signature")
        reply(NONE)

    # ---- node.speech.Library --------------------------------------------------------------------

    def tip(self) -> int:
        return len(self.host.disk.chain)

    def certified(self, height: int) -> Held | None:
        chain = self.host.disk.chain
        if not 1 <= height <= len(chain):
            return None
        block, certificate, _ = chain[height - 1]
        return Held(block, b"" if certificate is None else certificate.raw, None)

    def candidate(self, block: BlockId) -> Held | None:
        candidate = self.core.engine.machine.standing.candidates.get(block)
        if candidate is None:
            kept = self.host.chain.candidate(self.core.height, block)
            return None if kept is None else Held(kept, b"", None)
        proposal = candidate.proposal
        proposer = None if proposal is None else (proposal.peer, proposal.signature)
        return Held(candidate.block, b"", proposer)

    def bodies(self, ids: Sequence[MessageId]) -> list[bytes]:
        found, missing = self.core.lookup(ids)
        stored = self.host.chain.messages(missing) if missing else []
        return [*[message.raw for message in found], *[raw for raw in stored if raw is not None]]
