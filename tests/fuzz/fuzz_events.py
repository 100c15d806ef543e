"""What peers may send to a core, made from drawn numbers: right, wrong, early, late, absurd."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

from consensus import merkle
from consensus.block import Block, Body, Header, Proposal, proposal_coverage
from consensus.certificates import Aggregate, Certificate, Vote
from consensus.effects import BLOCK, POLL, TIP, Ask
from consensus.errors import InvalidBlock
from consensus.events import (
    AnswerReceived,
    AskFailed,
    CertificateReceived,
    Event,
    FactsReceived,
    Fetched,
    LinkDown,
    LinkUp,
    MessagesReceived,
    Missing,
    PollReceived,
    ProposalReceived,
    TipReceived,
    VotesReceived,
)
from consensus.facts import DoubleProposal, Evidence, Fact
from consensus.ids import BlockId, Height, Id, MessageId, Peer, Round, content_id
from consensus.kinds import SNOWBALL, SOLO
from consensus.standing import Standing
from consensus.state import MemoryState
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import keyed_signature, peer_key
from tests.node.builders_core import message

OWNERS = 4
PEERS = [peer_key(number) for number in range(OWNERS)]
STRANGER = peer_key(77)
OTHER = Id(content_id(b"another chain"))
UNKNOWN = BlockId(content_id(b"a block that nobody has"))
ROUNDS = [0, 0, 0, 1, 1, 2, 3, 65_535]
FAR = 2**63 - 1
ASKS_MAX = 40  # ids of asks that are answered whether they are open or not


class Draws:
    """Numbers from bytes, one each; `left` says when they end."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    @property
    def left(self) -> bool:
        return self.at < len(self.raw)

    def below(self, limit: int) -> int:
        if not self.left:
            return 0
        self.at += 1
        return self.raw[self.at - 1] % limit

    def stop(self) -> None:
        """As if there were no more."""
        self.at = len(self.raw)

    def of(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]


@cache
def first_chain(kind: str = SNOWBALL) -> MiniChain:
    """A chain of a kind at its genesis."""
    if kind == SNOWBALL:
        return MiniChain(make_spec(OWNERS))
    if kind == SOLO:
        return MiniChain(make_spec(1, consensus=SOLO))
    return MiniChain(make_spec(OWNERS, small(beta=30, settle_base_ms=4_000), consensus=kind))


def extended(chain: MiniChain, block: Block, certificate: Certificate | None) -> MiniChain:
    """The chain with one block more; the other stays as it is. Raises InvalidBlock."""
    made = _extended(chain, block)
    if made.tip.id != block.id:
        raise InvalidBlock("next_table")
    if certificate is not None:
        made.certificates[-1] = certificate
    return made


def completed(chain: MiniChain, block: Block) -> Block:
    """With the table that it leads to, where it is valid otherwise."""
    try:
        return Block(_extended(chain, block).tip, block.body)
    except InvalidBlock:
        return block


def _extended(chain: MiniChain, block: Block) -> MiniChain:
    made = copy.copy(chain)
    made.state = MemoryState(dict(chain.state.items()))
    made.headers, made.certificates = list(chain.headers), list(chain.certificates)
    made.tables = list(chain.tables)
    made.commit(block)
    return made


def changed(block: Block, *, messages: Sequence[MessageId], **fields: Any) -> Block:
    """The block with these messages, roots made again, and other fields of its header."""
    old = block.body
    body = Body.of(
        parent_certificate=old.parent_certificate,
        facts=old.facts,
        chain_inputs=(),
        messages=tuple(messages),
    )
    fields = {"inputs_root": merkle.root(body.input_leaves), **fields}
    return Block(Header.of(block.header.fields._replace(**fields)), body)


class Speaker:
    """Peers of a chain: `event` draws one of their sayings."""

    def __init__(self, draws: Draws, kind: str = SNOWBALL) -> None:
        self.draws, self.chain = draws, first_chain(kind)
        self.blocks: list[Block] = []
        self.favourite: BlockId | None = None  # of this height, for accepts
        self.known = [message(self.chain.spec, number) for number in range(3)]

    def event(self) -> Event:
        kinds = [
            *[self.vote, self.vote, self.quorum, self.quorum, self.quorum, self.proposal],
            *[self.proposal, self.certificate, self.fact, self.posted, self.poll, self.answer],
            *[self.answer, self.answer, self.fetched, self.tip, self.link],
        ]
        made: Event = self.draws.of(kinds)()
        return made

    # ---- parts ------------------------------------------------------------------------------

    def peer(self) -> Peer:
        return self.draws.of([*PEERS, *PEERS, STRANGER])  # type: ignore[no-any-return]

    def height(self) -> int:
        here = self.chain.height + 1
        return max(1, int(self.draws.of([here] * 6 + [here + 1, here - 1, here + 40, FAR])))

    def block(self) -> Block:
        """Valid by its header for the most part; many of them are the same."""
        draws, chain = self.draws, self.chain
        if self.blocks and draws.below(3):
            return self.blocks[draws.below(len(self.blocks))]
        round_, rank = draws.of([0, 0, 0, 1, 2]), draws.of([0, 0, 1, 2, 3])
        rank %= len(chain.view.ranking(chain.tip.fields.randomness, round_))
        fields: dict[str, Any] = {}
        wrong = draws.below(12)
        if wrong == 1:
            fields["time_ms"] = draws.of([0, 2**62, chain.tip.fields.time_ms])
        elif wrong == 2:
            fields["height"] = self.height()
        elif wrong == 3:
            fields["proposer_slot"] = draws.of([0, 11, 12, 2**64 - 1])
        elif wrong == 4:
            fields["parent"] = UNKNOWN
        elif wrong == 5:
            fields["round"] = draws.of(ROUNDS)
        elif wrong == 6:
            fields["epoch"] = draws.of([1, 2**64 - 1])
        elif wrong == 7:
            fields["chain"] = OTHER
        block = chain.block(rank=rank, round=round_, messages=0)
        sent = self.known[: draws.of([1, 1, 2, 0])]
        if draws.below(10) == 1:
            sent = [*sent, *sent[:1]]
        block = changed(block, messages=[each.id for each in sent], **fields)
        if draws.below(4):
            block = completed(chain, block)
        self.blocks = [*self.blocks[-5:], block]
        return block

    def named(self) -> BlockId | None:
        which = self.draws.below(8)
        if which < 5:
            return self.block().id
        return None if which < 7 else UNKNOWN

    def cast(self, peer: Peer, phase: str, named: BlockId | None, round_: int) -> Vote:
        fields = {"phase": phase, "round_": round_, "block": named, "height": self.height()}
        if self.draws.below(16) == 1:
            fields["chain"] = OTHER
        if self.draws.below(16) == 1:
            fields["epoch"] = self.draws.of([1, 2**64 - 1])
        return self.chain.accept(peer, self.chain.block().header, **fields)

    def some(self, phase: str) -> list[Vote]:
        """Of one place, by all owners but as many as drawn."""
        named = self.named()
        if phase == "accept" and named is not None and self.draws.below(16):
            # Two certificates of a height are a fork, and end a play.
            named = self.favourite = self.favourite or named
        place: dict[str, Any] = {"phase": phase, "round_": self.draws.of(ROUNDS), "block": named}
        height = self.height()
        count = self.draws.of([3, 3, 4, 2, 1])
        skipped = self.draws.below(2)
        header = self.chain.block().header
        return [
            self.chain.accept(peer, header, **place, height=height)
            for peer in [*PEERS, *PEERS][skipped : skipped + count]
        ]

    # ---- sayings ----------------------------------------------------------------------------

    def vote(self) -> Event:
        phase, round_ = self.draws.of(["confirm", "accept"]), self.draws.of(ROUNDS)
        vote = self.cast(self.peer(), phase, self.named(), round_)
        return VotesReceived(((self.draws.below(2), vote),))

    def quorum(self) -> Event:
        votes = self.some(self.draws.of(["confirm", "confirm", "accept"]))
        return VotesReceived(tuple([(0, vote) for vote in votes]))

    def proposal(self) -> Event:
        return ProposalReceived(self.draws.below(2), self.proposed(), self.draws.of([None, *PEERS]))

    def proposed(self) -> Proposal:
        block = self.block()
        fields = block.header.fields
        ranking = self.chain.view.ranking(self.chain.tip.fields.randomness, fields.round % 70_000)
        peer = ranking[fields.rank % len(ranking)][0]
        if self.draws.below(10) == 1:
            peer = self.peer()
        return Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))

    def certified(self) -> Certificate | None:
        votes = [vote for vote in self.some("accept") if vote.block is not None]
        return Certificate.of(votes) if votes else None

    def certificate(self) -> Event:
        certificate = self.certified()
        if certificate is None:
            return self.vote()
        return CertificateReceived(certificate, self.draws.of([None, *PEERS]))

    def fact(self) -> Event:
        """Of any kind; most of those that a block may not hold are refused."""
        which, peer, tip = self.draws.below(6), self.peer(), self.chain.tip
        fact: Fact | Aggregate
        if which == 0:
            fact = self.chain.renew(peer, epoch=self.draws.of([1, 1, 0, 2]))
        elif which == 1:
            nonce = bytes([self.draws.below(256)]) * 16
            fact = self.chain.claim(peer, nonce, epoch=self.draws.of([1, 1, 0, 2, FAR]))
        elif which == 2:
            block = self.named() or UNKNOWN
            height = self.draws.of([1, max(1, tip.height), FAR])
            fact = self.chain.late(peer, tip, height=height, block=block)
        elif which == 3:
            height = self.draws.of([1, max(1, tip.height), 9, FAR])
            fact = self.chain.double_vote(peer, tip, height=height, round_=self.draws.of(ROUNDS))
        elif which == 4:
            found = self.doubled(peer)
            if found is None:
                return self.vote()
            fact = found
        else:
            votes = [vote for vote in self.some("confirm") if vote.block is not None]
            if not votes:
                return self.vote()
            fact = Aggregate.of(votes)
        return FactsReceived(((self.draws.below(2), fact),))

    def doubled(self, peer: Peer) -> Fact | None:
        made = self.chain.block(rank=0, messages=0)
        one, other = [changed(made, messages=[each.id]) for each in self.known[:2]]
        first, second = sorted((one, other), key=lambda block: block.id)
        double: DoubleProposal | Evidence = self.chain.double_proposal(first, second, peer)
        return double

    def posted(self) -> Event:
        found = self.draws.of(self.known)
        if self.draws.below(4) == 1:
            number, expires = self.draws.below(256), self.draws.of([50, 50, 0, 300, FAR])
            found = message(self.chain.spec, number, sender=self.draws.below(3), expires=expires)
        return MessagesReceived(self.draws.below(2), (found,), self.draws.of([None, PEERS[1]]))

    def poll(self) -> Event:
        height = self.draws.of([0, self.height(), self.chain.height, 2**64 - 1])
        return PollReceived(self.draws.below(5), self.peer(), Height(height))

    def answer(self) -> Event:
        ask, peer = self.draws.below(ASKS_MAX), self.peer()
        which = self.draws.below(4)
        if which == 0:
            return Missing(ask, peer)
        if which == 1:
            return AskFailed(ask, peer)
        height, round_ = (
            self.draws.of([self.height(), 0, 2**64 - 1]),
            self.draws.of([0, 1, 2**64 - 1]),
        )
        return AnswerReceived(ask, peer, Height(height), Round(round_), self.named())

    def reply(self, ask: Ask) -> Event:
        """To what was asked, and mostly what was asked for."""
        if ask.proto == TIP:
            return TipReceived(ask.peer, Height(self.chain.height + self.draws.of([0, 0, 1])))
        if ask.proto == POLL:
            named = self.draws.of([*[block.id for block in self.blocks], None])
            height, round_ = self.chain.height + 1, self.draws.of([0, 0, 0, 1])
            return AnswerReceived(ask.ask, ask.peer, Height(height), Round(round_), named)
        block = self.block() if ask.proto == BLOCK else None
        return Fetched(ask.ask, ask.peer, block, None, None, tuple(self.known))

    def help(self, standing: Standing, asks: Sequence[Ask]) -> list[Event]:
        """What honest peers would say to a core that stands there."""
        height, candidates = standing.height, list(standing.candidates)
        if not candidates or (standing.round and self.draws.below(3) == 1):
            block = self.valid(standing.round)
            return [ProposalReceived(0, self.signed(block), None)]
        named = self.favourite if self.favourite in candidates else candidates[0]
        self.favourite = self.favourite or named
        told: list[Event] = [
            AnswerReceived(ask.ask, ask.peer, height, Round(standing.round), named)
            for ask in asks
            if ask.proto == POLL
        ]
        phase = self.draws.of(["confirm", "accept", "", ""])
        if not told and phase and self.chain.spec.kind.votes:
            place = {"phase": phase, "round_": standing.round, "block": named, "height": height}
            header = self.chain.block().header
            votes = [self.chain.accept(peer, header, **place) for peer in PEERS[1:]]
            told = [VotesReceived(tuple([(0, vote) for vote in votes]))]
        return told

    def valid(self, round_: int) -> Block:
        """A block that anybody would vote for."""
        plain = self.chain.block(messages=0, round=round_)
        block = changed(plain, messages=[self.known[self.chain.height % len(self.known)].id])
        block = completed(self.chain, block)
        self.blocks = [*self.blocks[-5:], block]
        return block

    def signed(self, block: Block) -> Proposal:
        """By the owner of its place."""
        fields = block.header.fields
        ranking = self.chain.view.ranking(self.chain.tip.fields.randomness, fields.round)
        peer = ranking[fields.rank][0]
        return Proposal.of(block, peer, keyed_signature(peer, proposal_coverage(block.header)))

    def fetched(self) -> Event:
        block = self.block() if self.draws.below(3) else None
        proposal = self.proposed() if self.draws.below(3) == 1 else None
        certificate = self.certified() if self.draws.below(2) else None
        sent = tuple(self.known[: self.draws.of([3, 3, 1, 0])])
        if proposal is not None:
            block = proposal.block
        ask, peer = self.draws.below(ASKS_MAX), self.peer()
        return Fetched(ask, peer, block, proposal, certificate, sent)

    def tip(self) -> Event:
        return TipReceived(self.peer(), Height(self.draws.of([0, self.height(), 2**64 - 1])))

    def link(self) -> Event:
        return self.draws.of([LinkUp, LinkUp, LinkDown])(self.peer())  # type: ignore[no-any-return]
