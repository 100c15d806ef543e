"""ChainSpec: all that is fixed before height 1; its id is the chain's id (protocol §3).

Knows public keys only and runs nothing: what the code of a genesis agent is, execution knows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from consensus.certificates import CERTIFICATE_BYTES_MAX, Certificate
from consensus.encoding import (
    HASH,
    ID,
    KEY,
    NONCE,
    UINT,
    UINT_MAX,
    H,
    Schema,
    blob,
    list_of,
    optional,
    row,
    text,
)
from consensus.errors import EncodingError, SpecError
from consensus.ids import Account, Agent, ChainId, Hash, Height, Id, Peer, content_id
from consensus.kinds import KINDS, SNOWBALL, Kind
from consensus.parameters import PARAMETERS_BYTES_MAX, SLOTS_LIMIT, Parameters
from consensus.tables import Table

SPEC_BYTES_MAX = 1024 * 1024
AGENTS_LIMIT = 256
BALANCES_LIMIT = 10_000
NAME_BYTES_MAX = 32
CODE_BYTES_MAX = 64
INIT_BYTES_MAX = 8 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]*")

_CONTINUES = row(ID, UINT, HASH, blob(CERTIFICATE_BYTES_MAX))
_SPEC = Schema(
    "spec",
    1,
    [
        text(NAME_BYTES_MAX),
        optional(ID),  # main chain, null: this is one
        text(16),  # consensus
        blob(PARAMETERS_BYTES_MAX),
        UINT,  # genesis time in ms
        list_of(optional(row(KEY, HASH)), SLOTS_LIMIT),  # genesis slots, null: vacant
        list_of(
            row(text(NAME_BYTES_MAX), text(CODE_BYTES_MAX), blob(INIT_BYTES_MAX)), AGENTS_LIMIT
        ),
        list_of(row(KEY, UINT), BALANCES_LIMIT),
        optional(_CONTINUES),
        NONCE,
    ],
    max_bytes=SPEC_BYTES_MAX,
)


class GenesisSlot(NamedTuple):
    """The first owner of a slot, and the commitment of its hash chain for epoch 0."""

    peer: Peer
    commitment: Hash


class GenesisAgent(NamedTuple):
    """An agent that exists from the start: `code` such as "native:token/1", canonical `init`."""

    name: str
    code: str
    init: bytes


class Balance(NamedTuple):
    """Tokens that an account has at genesis."""

    account: Account
    amount: int


class Continues(NamedTuple):
    """The block of another chain whose state this one starts with, and what certified it (§10)."""

    chain: ChainId
    height: Height
    state_root: Hash
    certificate: bytes


class SpecDraft(NamedTuple):
    """A spec before its genesis slots: enough for the seed that owners make hash chains from."""

    name: str
    parameters: Parameters
    genesis_time_ms: int
    nonce: bytes  # 16 random bytes, so that equal specs are different chains
    genesis_agents: Sequence[tuple[str, str, bytes]] = ()
    genesis_balances: Sequence[tuple[Account, int]] = ()
    main_chain: ChainId | None = None
    consensus: str = SNOWBALL
    continues: Continues | None = None

    @property
    def seed(self) -> Id:
        """The seed that the finished spec will have."""
        return content_id(self.encode(()))

    def encode(self, genesis_slots: tuple[Any, ...]) -> bytes:
        """Canonical bytes with these genesis slots; judged only when decoded."""
        place = (self.name, self.main_chain, self.consensus, self.parameters.encode())
        contents = (genesis_slots, self.genesis_agents, self.genesis_balances)
        return _SPEC.encode((*place, self.genesis_time_ms, *contents, self.continues, self.nonce))


def agent_id(name: str) -> Agent:
    """The id of the genesis agent of that name."""
    return Agent(H("agent", name))


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """A chain that this version can start. `seed` is the id of the same without genesis slots.

    `genesis_slots` has one item per slot, null where the slot is vacant.
    """

    name: str
    main_chain: ChainId | None
    consensus: str
    parameters: Parameters
    genesis_time_ms: int
    genesis_slots: tuple[GenesisSlot | None, ...]
    genesis_agents: tuple[GenesisAgent, ...]
    genesis_balances: tuple[Balance, ...]
    continues: Continues | None
    nonce: bytes
    id: ChainId
    seed: Id
    raw: bytes

    @classmethod
    def of(
        cls, draft: "SpecDraft", genesis_slots: Sequence[tuple[Peer, Hash] | None]
    ) -> "ChainSpec":
        """The draft with its genesis slots. Raises SpecError, EncodingError."""
        return cls.decode(draft.encode(tuple(genesis_slots)))

    @classmethod
    def decode(cls, raw: bytes) -> "ChainSpec":
        """Raises EncodingError, ParameterError, SpecError."""
        fields = _SPEC.decode(raw)
        name, main_chain, consensus, parameters, time_ms, slots, agents, balances = fields[:8]
        seed = content_id(_SPEC.encode((*fields[:5], (), *fields[6:])))
        spec = cls(
            name,
            main_chain,
            consensus,
            Parameters.decode(parameters),
            time_ms,
            tuple([slot and GenesisSlot(*slot) for slot in slots]),
            tuple([GenesisAgent(*agent) for agent in agents]),
            tuple([Balance(*balance) for balance in balances]),
            fields[8] and Continues(*fields[8]),
            fields[9],
            ChainId(content_id(raw)),
            seed,
            raw,
        )
        _check(spec)
        return spec

    @property
    def kind(self) -> Kind:
        """What of the protocol applies to this chain."""
        return KINDS[self.consensus]

    def agent_named(self, name: str) -> Agent | None:
        """The id of the genesis agent of that name, null when there is none."""
        if any(agent.name == name for agent in self.genesis_agents):
            return agent_id(name)
        return None

    def genesis_table(self) -> Table:
        """Table_0."""
        return Table.of(0, [slot.peer if slot else None for slot in self.genesis_slots])


# ---- what must hold -----------------------------------------------------------------------------


def _check(spec: ChainSpec) -> None:
    """Raises SpecError."""
    _check_kind(spec)
    if spec.continues is not None:
        _check_continues(spec, spec.continues)
    if not _NAME.fullmatch(spec.name):
        raise SpecError("name: lower-case letters, digits and '-', a letter first")
    _check_slots(spec)
    _check_agents(spec.genesis_agents)
    _check_balances(spec.genesis_balances)


def _check_kind(spec: ChainSpec) -> None:
    kind = KINDS.get(spec.consensus)
    if kind is None:  # refused, never started
        raise SpecError(
            f"consensus {spec.consensus!r} is unknown; the kinds are {', '.join(KINDS)}"
        )
    owners = len(dict.fromkeys([slot.peer for slot in spec.genesis_slots if slot]))
    if kind.owners_max is not None and owners > kind.owners_max:
        raise SpecError(f"consensus {kind.name}: {owners} owners ≤ {kind.owners_max} does not hold")
    beta = spec.parameters.beta
    if beta < kind.beta_min:
        raise SpecError(f"consensus {kind.name}: {kind.beta_min} ≤ beta {beta} does not hold")


def _check_continues(spec: ChainSpec, continues: Continues) -> None:
    """The certificate is of that chain and height, and the state brings the balances along.

    Who signed it, and that its block has that state root, is for whoever holds the old chain: like
    the slots, the state is trusted because the founders chose it (§10).
    """
    try:
        certificate = Certificate.decode(continues.certificate)
    except EncodingError as error:
        raise SpecError(f"continues: {error}") from error
    named = (certificate.chain, certificate.height)
    if named != (continues.chain, continues.height) or not certificate.signatures:
        raise SpecError("continues: the certificate is not of that chain and height")
    if spec.genesis_balances:
        raise SpecError("continues: the balances are those of the state, genesis_balances is empty")


def _check_slots(spec: ChainSpec) -> None:
    slots = spec.parameters.slots
    if len(spec.genesis_slots) != slots:
        raise SpecError(f"genesis_slots: {len(spec.genesis_slots)} given, slots is {slots}")
    commitments: dict[Peer, Hash] = {}
    for slot in spec.genesis_slots:
        if slot and commitments.setdefault(slot.peer, slot.commitment) != slot.commitment:
            raise SpecError("genesis_slots: one peer with two commitments")
    if not commitments:
        raise SpecError("genesis_slots: at least one slot needs an owner")


def _check_agents(agents: Sequence[GenesisAgent]) -> None:
    names: dict[str, None] = {}
    for agent in agents:
        if not _NAME.fullmatch(agent.name):
            raise SpecError(f"agent {agent.name!r}: lower-case letters, digits and '-'")
        if agent.name in names:
            raise SpecError(f"agent {agent.name!r} is named twice")
        names[agent.name] = None


def _check_balances(balances: Sequence[Balance]) -> None:
    accounts: dict[Account, None] = {}
    total = 0
    for balance in balances:
        if balance.account in accounts:
            raise SpecError("genesis_balances: an account is named twice")
        accounts[balance.account] = None
        total += balance.amount
    if total > UINT_MAX:
        raise SpecError("genesis_balances: the sum exceeds 2^64 - 1")
