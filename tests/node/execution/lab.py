"""A chain in memory for tests of execution: one owner of all slots, unsigned messages and votes."""

from collections.abc import Sequence
from typing import Any

from consensus import merkle
from consensus.block import Block, Body, Header
from consensus.certificates import Certificate, Vote, append_signature, vote_unsigned
from consensus.encoding import H, Value
from consensus.ids import Account, Agent, Hash, Id, MessageId, Peer
from consensus.messages import Draft, Message, Receipt, Reference, encode_data
from consensus.parameters import Parameters
from consensus.proposers import hash_chain
from consensus.spec import ChainSpec, SpecDraft, agent_id
from consensus.state import MemoryState
from node.execution.block import advance, build, execute
from node.execution.genesis import genesis_parent
from node.execution.ports import Built, Outcome, Place
from node.execution.registry import demo_agents
from node.execution.views import view

GENESIS_MS = 1_700_000_000_000
TOKEN, COUNTER = agent_id("token"), agent_id("counter")
PING, PONG = agent_id("ping"), agent_id("pong")
MILLION = 1_000_000


def account(name: str) -> Account:
    return Account(H("account", name))


ALICE, BOB, CAROL = account("alice"), account("bob"), account("carol")


class Lab:
    """Builds, executes, certifies and commits blocks on `parent`; every block is executed twice."""

    def __init__(
        self,
        *,
        balances: Sequence[tuple[bytes, int]] = ((ALICE, MILLION), (BOB, MILLION)),
        agents: Sequence[tuple[str, str, bytes]] | None = None,
        **overrides: Any,
    ) -> None:
        parameters = Parameters.local(
            **{"slots": 4, "epoch_blocks": 64, "claim_close": 8} | overrides
        )
        draft = SpecDraft(
            name="lab",
            parameters=parameters,
            genesis_time_ms=GENESIS_MS,
            nonce=bytes(16),
            genesis_agents=demo_agents() if agents is None else agents,
            genesis_balances=[(Account(key), amount) for key, amount in balances],
        )
        self.peer = Peer(H("peer", 0))
        self.links = hash_chain(bytes(32), draft.seed, self.peer, parameters.epoch_blocks + 1)
        self.spec = ChainSpec.of(draft, [(self.peer, self.links[0])] * parameters.slots)
        self.parent = genesis_parent(self.spec)
        self.nonce = 0
        self.outcomes: list[Outcome] = []

    # ---- messages -------------------------------------------------------------------------------

    def message(
        self, sender: bytes, to: bytes, kind: str, fields: dict[str, Value], **terms: Any
    ) -> Message:
        """A message with a signature of zeros: execution judges none."""
        self.nonce += 1
        data = terms.pop("data", None)
        draft = Draft(
            chain=terms.pop("chain", self.spec.id),
            sender=Account(sender),
            to=terms.pop("reference", Reference(self.spec.id, Agent(to), None)),
            data=encode_data(kind, fields) if data is None else data,
            nonce=self.nonce.to_bytes(16, "big"),
            expires_height=terms.pop("expires", self.height + 10),
            gas_max=terms.pop("gas", 1000),
            **terms,
        )
        return Message.decode(draft.signed(bytes(64)))

    def transfer(self, sender: bytes, to: bytes, amount: int, **terms: Any) -> Message:
        return self.message(sender, TOKEN, "Transfer", {"to": to, "amount": amount}, **terms)

    # ---- blocks ---------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Of the next block."""
        return self.parent.view.height

    @property
    def time_ms(self) -> int:
        return self.parent.header.fields.time_ms

    def place(self, *, time_ms: int | None = None, round_: int = 0, **more: Any) -> Place:
        header, coming = self.parent.header, self.parent.view
        ((_, slot),) = coming.ranking(header.fields.randomness, round_)
        number = coming.height - self.spec.parameters.first_height(coming.epoch) + 1
        return Place(
            **{
                "height": coming.height,
                "round": round_,
                "epoch": coming.epoch,
                "parent": header.id,
                "parent_certificate": self.certificate().raw if coming.height > 1 else b"",
                "proposer_slot": slot,
                "rank": 0,
                "time_ms": self.time_ms + 1 if time_ms is None else time_ms,
                "reveal": Hash(self.links[number]) if coming.ranked else None,
            }
            | more
        )

    def certificate(self) -> Certificate:
        """Of the parent, by its one owner."""
        header = self.parent.header
        epoch = self.spec.parameters.epoch(header.height)
        place = {"epoch": epoch, "height": header.height, "round_": 0}
        unsigned = vote_unsigned(
            "accept", chain=self.spec.id, block=header.id, peer=self.peer, **place
        )
        return Certificate.of([Vote.decode(append_signature(unsigned, bytes(64)))])

    def build(self, *messages: Message, skip: Sequence[Id] = (), **place: Any) -> Built:
        return build(self.spec, self.parent, self.place(**place), messages, skip=skip)

    def execute(self, block: Block, *messages: Message, fast: bool = True) -> Outcome:
        """With those of the messages that the block has, in its order."""
        by_id = {each.id: each for each in messages}
        bodies = [by_id[MessageId(each)] for each in block.body.messages]
        return execute(self.spec, self.parent, block, bodies, fast=fast)

    def step(self, *messages: Message, **place: Any) -> Outcome:
        """Build, execute both ways, compare, commit."""
        built = self.build(*messages, **place)
        assert built.block is not None and built.outcome is not None
        for fast in (True, False):
            again = self.execute(built.block, *messages, fast=fast)
            assert_same(built.outcome, again)
        self.commit(built.outcome)
        return built.outcome

    def commit(self, outcome: Outcome) -> None:
        state = MemoryState(dict(_all(self.parent.state)))  # flat: overlays would pile up
        state.apply(outcome.changes)
        self.parent = advance(self.parent, outcome, state)
        self.outcomes.append(outcome)

    def with_body(self, built: Built, **body: Any) -> Block:
        """The block with another body, and a header whose roots of the body are right."""
        block = built.block
        assert block is not None
        parts: dict[str, Any] = {
            "parent_certificate": block.body.parent_certificate,
            "facts": block.body.facts,
            "chain_inputs": block.body.chain_inputs,
            "messages": block.body.messages,
        }
        other = Body.of(**(parts | body))
        fields = block.header.fields._replace(
            inputs_root=merkle.root(other.input_leaves), facts_root=merkle.root(other.facts)
        )
        return Block(Header.of(fields), other)

    # ---- questions ------------------------------------------------------------------------------

    def view(self, agent: bytes, name: str, **arguments: Value) -> Value:
        return view(self.spec, self.parent.state, Agent(agent), name, arguments)

    def balance(self, owner: bytes) -> int:
        answer = self.view(TOKEN, "balance", owner=owner)
        assert isinstance(answer, int)
        return answer


def _all(state: Any) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = []
    while page := state.scan(b"", pairs[-1][0] if pairs else b""):
        pairs += page
    return pairs


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.header == other.header
    assert one.changes == other.changes
    assert one.map.root == other.map.root
    assert one.receipts == other.receipts
    assert one.events == other.events
    assert (one.seen, one.due_ms, one.burned) == (other.seen, other.due_ms, other.burned)


def receipts(outcome: Outcome) -> list[Receipt]:
    return [Receipt.decode(raw) for raw in outcome.receipts]


def verdicts(outcome: Outcome) -> list[tuple[str, str]]:
    """(status, code) by index."""
    return [(each.status, each.code) for each in receipts(outcome)]
