"""Words that an adversary signs with its own key, and blocks that it makes for its own place.

Everything here is well-formed and truly signed; what is wrong with it is the caller's choice.
"""

from dataclasses import replace

from consensus.block import Block, Body, Header, Proposal, proposal_coverage
from consensus.building import parent_certificate
from consensus.certificates import Vote, append_signature
from consensus.effects import Build
from consensus.encoding import encode
from consensus.facts import Renew, SlotClaim, claim_unsigned, renew_unsigned
from consensus.ids import BlockId, Epoch, Hash, Id, MessageId, Peer, Round, content_id
from consensus.merkle import root
from consensus.proposers import hash_chain, hash_chain_seed
from consensus.proposing import ranking
from consensus.signatures import CLAIM, RENEW, coverage
from consensus.signing import ACCEPT, CONFIRM
from testnet.sim.cluster import Cluster
from testnet.sim.host import Host

PHASES = {"confirm": CONFIRM, "accept": ACCEPT}
NOWHERE = BlockId(content_id(b"a block that nobody made"))


class Pen:
    """The hand of one host: signs whatever it is given, unlike a sign record."""

    def __init__(self, cluster: Cluster, host: Host) -> None:
        self.cluster, self.host = cluster, host
        self._chains: dict[int, list[Hash]] = {}

    def sign(self, kind: str, unsigned: bytes, *, chain: bytes | None = None) -> bytes:
        """The signed record."""
        return self.sign_as(self.host.peer, kind, unsigned, chain=chain)

    def sign_as(self, peer: Peer, kind: str, unsigned: bytes, *, chain: bytes | None) -> bytes:
        """With a key of its own making (free), or as a recording of what that peer signed."""
        covered = coverage(kind, chain or self.host.spec.id, unsigned)
        return append_signature(unsigned, self.host.keys.sign(peer, covered))

    # ---- votes ----------------------------------------------------------------------------------

    def vote(self, like: Vote, block: BlockId | None) -> bytes:
        """Another value at the place of a vote; the history learns that it was said."""
        return self.vote_at(like.phase, like.height, like.round, block)

    def vote_at(self, phase: str, height: int, round_: int, block: BlockId | None) -> bytes:
        """A vote at any place of this chain, on the record for the history.

        Its bytes are put together here: a `Vote` has no place outside the chain's bounds.
        """
        peer, chain = self.host.peer, self.host.spec.id
        epoch = self.host.spec.parameters.epoch(height) if height else 0
        unsigned = encode([phase, 1, chain, epoch, height, round_, block, peer])
        self.cluster.history.record_false(peer, (height, round_, PHASES[phase]), block)
        return self.sign(phase, unsigned)

    # ---- blocks ---------------------------------------------------------------------------------

    def proposal(self, block: Block) -> Proposal:
        signature = self.host.keys.sign(self.host.peer, proposal_coverage(block.header))
        return Proposal.of(block, self.host.peer, signature)

    def order(self, *, rounds_ahead: int = 0) -> Build | None:
        """The order to build its own block of this round or a later one, in turn or not.

        Null where it has no rank, or its executor does not stand where its core does.
        """
        host = self.host
        assert host.core is not None and host.line is not None, "it builds while its host is up"
        machine = host.core.engine.machine
        round_ = machine.standing.round + rounds_ahead
        places = [slot for peer, slot in ranking(machine, round_) if peer == host.peer]
        if not places or host.line.tip.header.id != machine.tip.header.id:
            return None
        epoch, height = Epoch(machine.standing.epoch), machine.standing.height
        number = height - host.spec.parameters.first_height(epoch) + 1
        ranked = host.peer in machine.tip.view.chains
        return Build(
            parent=machine.tip.header.id,
            parent_certificate=parent_certificate(machine),
            height=height,
            round=Round(round_),
            epoch=epoch,
            proposer_slot=places[0],
            rank=ranking(machine, round_).index((host.peer, places[0])),
            time_ms=max(host.now().clock_ms, machine.tip.header.fields.time_ms + 1),
            reveal=self.link(epoch, number) if ranked else None,
            facts=machine.pool.facts(height),
            messages=machine.pool.choose(height),
            skip=(),
        )

    def build(self, order: Build) -> Block | None:
        """The valid block of an order; null when nothing may be included."""
        assert self.host.line is not None, "it builds while its host is up"
        return self.host.line.build(order).block

    def twin(self, order: Build) -> Block | None:
        """Another valid block for the same place: one millisecond later."""
        return self.build(replace(order, time_ms=order.time_ms + 1))

    # ---- facts ----------------------------------------------------------------------------------

    def link(self, epoch: int, number: int) -> Hash:
        """Of its own hash chain; number 0 is the commitment."""
        chain = self._chains.get(epoch)
        if chain is None:
            spec, peer = self.host.spec, self.host.peer
            seed = hash_chain_seed(self.host.keys.secrets[peer], spec.seed, epoch)
            chain = hash_chain(seed, spec.seed, peer, spec.parameters.epoch_blocks + 1)
            self._chains = {epoch: chain}
        return chain[number]

    def renew(
        self,
        epoch: int,
        *,
        commitment: bytes | None = None,
        peer: Peer | None = None,
        chain: bytes | None = None,
    ) -> Renew:
        chosen, named = peer or self.host.peer, chain or self.host.spec.id
        unsigned = renew_unsigned(
            chain=named,
            epoch=epoch,
            peer=chosen,
            commitment=commitment or self.link(epoch, 0),
        )
        return Renew.decode(self.sign_as(chosen, RENEW, unsigned, chain=named))

    def claim(
        self, epoch: int, nonce: bytes, *, commitment: bytes | None = None, peer: Peer | None = None
    ) -> SlotClaim:
        chosen = peer or self.host.peer
        unsigned = claim_unsigned(
            chain=self.host.spec.id,
            epoch=epoch,
            peer=chosen,
            nonce=nonce,
            commitment=commitment or self.link(epoch, 0),
        )
        return SlotClaim.decode(self.sign_as(chosen, CLAIM, unsigned, chain=None))


# ---- blocks taken apart and put together again ---------------------------------------------------


def with_fields(block: Block, **changes: object) -> Block:
    """The same body under a header with other fields."""
    return Block(Header.of(block.header.fields._replace(**changes)), block.body)  # type: ignore[arg-type]


def with_body(
    block: Block,
    *,
    parent_certificate: bytes | None = None,
    facts: tuple[bytes, ...] | None = None,
    chain_inputs: tuple[Id, ...] | None = None,
    messages: tuple[MessageId, ...] | None = None,
) -> Block:
    """Another body, and a header whose roots are of it."""
    body = block.body
    certificate = body.parent_certificate if parent_certificate is None else parent_certificate
    changed = Body.of(
        parent_certificate=certificate,
        facts=body.facts if facts is None else facts,
        chain_inputs=body.chain_inputs if chain_inputs is None else chain_inputs,
        messages=body.messages if messages is None else messages,
    )
    fields = block.header.fields._replace(
        parent_certificate=content_id(certificate) if certificate else None,
        facts_root=root(changed.facts),
        inputs_root=root(changed.input_leaves),
    )
    return Block(Header.of(fields), changed)


def block_reply(proposal: Proposal, messages: tuple[bytes, ...] = ()) -> bytes:
    """What a block query of a candidate is answered with."""
    block = proposal.block
    proposer = [proposal.peer, proposal.signature]
    return encode(["block", 1, block.header.raw, block.body.raw, b"", proposer, list(messages)])
