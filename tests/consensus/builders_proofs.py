"""A chain of headers certified under tables that change, made without executing anything."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from consensus import merkle
from consensus.block import Header, HeaderFields
from consensus.certificates import Certificate, Vote, append_signature, vote_unsigned
from consensus.encoding import H
from consensus.ids import ID_PREFIX, Peer, Slot
from consensus.messages import Draft, Message, Receipt, Reference, encode_data
from consensus.parameters import Parameters
from consensus.proofs import EpochLink
from consensus.signatures import ACCEPT, coverage
from consensus.spec import ChainSpec, SpecDraft, agent_id
from consensus.statemap import StateMap
from consensus.tables import Table, deal
from tests.consensus.builders_keys import account_key, keyed_signature, peer_key

PEERS = tuple(peer_key(number) for number in range(4))
PARAMETERS = Parameters.local(slots=60, epoch_blocks=16, claim_close=4)


def spec_of(peers: Sequence[Peer] = PEERS, parameters: Parameters = PARAMETERS) -> ChainSpec:
    draft = SpecDraft(
        name="proven",
        parameters=parameters,
        genesis_time_ms=1_700_000_000_000,
        nonce=bytes(16),
        genesis_agents=(("token", "native:token/1", b"\xf6"),),
        genesis_balances=((account_key(0), 1000),),
    )
    owners = deal(parameters.slots, peers)
    return ChainSpec.of(draft, [(peer, H("commitment", peer)) for peer in owners])


def certificate_for(header: Header, signers: Sequence[Peer]) -> Certificate:
    """Accepts of the signers, by the keyed hash."""
    fields = header.fields
    votes = []
    for peer in signers:
        unsigned = vote_unsigned(
            ACCEPT,
            chain=fields.chain,
            epoch=fields.epoch,
            height=fields.height,
            round_=fields.round,
            block=header.id,
            peer=peer,
        )
        signature = keyed_signature(peer, coverage(ACCEPT, fields.chain, unsigned))
        votes.append(Vote.decode(append_signature(unsigned, signature)))
    return Certificate.of(votes)


def moved(table: Table) -> Table:
    """The next table: slot `epoch` has gone to another owner."""
    owners = list(table.owners)
    slot = table.epoch
    owners[slot] = next(peer for peer in PEERS if peer != owners[slot])
    return Table.of(table.epoch + 1, owners)


@dataclass(frozen=True)
class ProvenChain:
    """A chain up to a block in the middle of epoch 2, with something of each kind to prove."""

    spec: ChainSpec
    links: tuple[EpochLink, ...]
    header: Header
    certificate: Certificate
    state: StateMap
    message: Message
    inputs: tuple[bytes, ...]
    receipts: tuple[bytes, ...]


def header_of(spec: ChainSpec, height: int, following: Table, **roots: bytes) -> Header:
    def digest(name: str) -> bytes:
        return hashlib.sha256(b"%s %d" % (name.encode(), height)).digest()

    fields = HeaderFields(
        chain=spec.id,
        height=height,
        round=0,
        epoch=spec.parameters.epoch(height),
        parent=ID_PREFIX + digest("parent"),
        parent_certificate=ID_PREFIX + digest("certificate") if height > 1 else None,
        proposer_slot=Slot(7),
        rank=0,
        time_ms=spec.genesis_time_ms + 1000 * height,
        reveal=digest("reveal"),
        randomness=digest("randomness"),
        next_table=following.hash,
        inputs_root=roots.get("inputs_root", digest("inputs")),
        outputs_root=digest("outputs"),
        receipts_root=roots.get("receipts_root", digest("receipts")),
        state_root=roots.get("state_root", digest("state")),
        facts_root=digest("facts"),
        gas_used=1240,
        skipped=(),
        main_ref=None,
    )
    return Header.of(fields)


def message_of(spec: ChainSpec, sender: int = 0) -> Message:
    draft = Draft(
        chain=spec.id,
        sender=account_key(sender),
        to=Reference(spec.id, agent_id("token"), None),
        data=encode_data("Transfer", {"amount": 5, "to": account_key(1)}),
        nonce=bytes(15) + bytes((sender,)),
        expires_height=300,
        gas_max=1000,
    )
    return Message.decode(draft.signed(keyed_signature(draft.sender, draft.to_sign())))


def proven_chain(height: int = 40, parameters: Parameters = PARAMETERS) -> ProvenChain:
    spec = spec_of(parameters=parameters)
    table, links = spec.genesis_table(), []
    for epoch in range(spec.parameters.epoch(height)):
        following = moved(table)
        last = header_of(spec, spec.parameters.last_height(epoch), following)
        certificate = certificate_for(last, PEERS[:3])
        links.append(EpochLink(last.raw, certificate.raw, following.raw))
        table = following
    messages = [message_of(spec, sender) for sender in range(5)]
    inputs = (H("input"), *[message.id for message in messages])
    inputs = tuple(ID_PREFIX + item if len(item) == 32 else item for item in inputs)
    receipts = tuple(
        Receipt(item, height, index, "ok", "", b"", 124, (), ()).encode()
        for index, item in enumerate(inputs)
    )
    state = StateMap.of((b"a/" + account_key(n), b"\x18\x64") for n in range(300))
    header = header_of(
        spec,
        height,
        table,
        inputs_root=merkle.root(inputs),
        receipts_root=merkle.root(receipts),
        state_root=state.root,
    )
    certificate = certificate_for(header, PEERS[1:])
    return ProvenChain(
        spec, tuple(links), header, certificate, state, messages[2], inputs, receipts
    )
