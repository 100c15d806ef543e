"""Where an adversary breaks one rule of validity at a time: a valid block of its own place, and the
tools to spoil it. What is spoiled is the tables' choice (`spoiled_headers`, `spoiled_facts`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consensus import claims
from consensus.block import Block
from consensus.certificates import Vote, append_signature, vote_unsigned
from consensus.effects import Build
from consensus.facts import Evidence, Fact, LateAccept
from consensus.ids import Account, ChainId, Hash, MessageId, Peer, content_id
from consensus.messages import Draft, Message, Reference, encode_data
from consensus.signatures import ACCEPT, CONFIRM, coverage
from consensus.state import State
from consensus.transition import View
from testnet.sim.adversaries.pen import NOWHERE, Pen, with_body
from testnet.sim.cluster import Cluster

ELSEWHERE = ChainId(content_id(b"another chain"))
NONCES = 2_048  # tries for a claim that a rule needs
GAS_MAX = 1_000


@dataclass(slots=True)
class Bench:
    """A valid block and all that went into it; `bodies`: messages made here, for who asks."""

    cluster: Cluster
    pen: Pen
    order: Build
    block: Block
    view: View  # of the parent's state
    state: State
    bodies: dict[MessageId, Message] = field(default_factory=dict)

    @property
    def peer(self) -> Peer:
        return self.pen.host.peer

    @property
    def height(self) -> int:
        return self.order.height

    def stranger(self, name: str) -> Peer:
        """A key that owns nothing: keys are free."""
        return self.cluster.keys.new(f"stranger {self.peer.hex()} {name}")

    # ---- messages -------------------------------------------------------------------------------

    def message(
        self,
        *,
        sender: Account | None = None,
        to_chain: ChainId | None = None,
        expires: int | None = None,
        gas: int = GAS_MAX,
        after: MessageId | None = None,
    ) -> Message:
        """Of an account of the adversary, which has tokens, to a handler that does not exist."""
        message = message_of(
            self.cluster,
            height=self.height,
            number=len(self.bodies),
            sender=sender,
            to_chain=to_chain,
            expires=expires,
            gas=gas,
            after=after,
        )
        self.bodies[message.id] = message
        return message

    def with_messages(self, *messages: Message) -> Block:
        return with_body(self.block, messages=tuple([message.id for message in messages]))

    # ---- facts ----------------------------------------------------------------------------------

    def with_facts(self, *facts: Fact) -> Block:
        return with_body(self.block, facts=tuple([fact.raw for fact in facts]))

    def vote(
        self,
        phase: str,
        *,
        height: int,
        block: bytes | None,
        epoch: int | None = None,
        peer: Peer | None = None,
        chain: ChainId | None = None,
    ) -> Vote:
        """A vote that is only ever shown inside a fact."""
        spec, signer = self.pen.host.spec, peer or self.peer
        unsigned = vote_unsigned(
            phase,
            chain=chain or spec.id,
            epoch=spec.parameters.epoch(height) if epoch is None else epoch,
            height=height,
            round_=0,
            block=block,
            peer=signer,
        )
        covered = coverage(phase, chain or spec.id, unsigned)
        return Vote.decode(append_signature(unsigned, self.cluster.keys.sign(signer, covered)))

    def late(
        self,
        *,
        height: int,
        epoch: int | None = None,
        peer: Peer | None = None,
        chain: ChainId | None = None,
    ) -> LateAccept:
        block = bytes(NOWHERE)
        vote = self.vote(ACCEPT, height=height, block=block, epoch=epoch, peer=peer, chain=chain)
        return LateAccept.of(vote)

    def evidence(
        self,
        *,
        height: int,
        epoch: int | None = None,
        peer: Peer | None = None,
        chain: ChainId | None = None,
        phase: str = CONFIRM,
    ) -> Evidence:
        one, other = (
            self.vote(phase, height=height, block=block, epoch=epoch, peer=peer, chain=chain)
            for block in (None, bytes(NOWHERE))
        )
        return Evidence.of(one, other)

    def found(self, *, commitment: bytes | None = None) -> list[claims.Found]:
        """Work for claims of the next epoch; none where claims are closed."""
        if self.view.salt_next is None:
            return []
        return claims.mine(
            self.pen.host.spec,
            salt=self.view.salt_next,
            peer=self.peer,
            commitment=self.pen.link(self.view.epoch + 1, 0)
            if commitment is None
            else Hash(commitment),
            nonce_prefix=bytes(claims.NONCE_PREFIX_BYTES),
            start=0,
            count=NONCES,
        )


Rule = Callable[[Bench], Block | None]
Table = Mapping[str, Rule]


def message_of(
    cluster: Cluster,
    *,
    height: int,
    number: int,
    sender: Account | None = None,
    to_chain: ChainId | None = None,
    expires: int | None = None,
    gas: int = GAS_MAX,
    after: MessageId | None = None,
) -> Message:
    """A message of the cluster's last account (or `sender`), unlike any other."""
    spec = cluster.spec
    token = spec.agent_named("token")
    assert token is not None, "an agent of the genesis"
    draft = Draft(
        spec.id,
        sender or cluster.accounts[-1],
        Reference(to_chain or spec.id, token, None),
        encode_data("Nothing", {}),
        b"adver" + height.to_bytes(8, "big") + number.to_bytes(3, "big"),
        height + 50 if expires is None else expires,
        gas,
        0,
        after,
    )
    return Message.decode(draft.signed(cluster.keys.sign(draft.sender, draft.to_sign())))
