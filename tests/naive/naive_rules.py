"""Block validity as one long function of (parent state, block): protocol §4, §5, §8, §9.

Written from the pages. A state is a dictionary; whatever is derived is derived again each time.
What agents do comes from the caller: here only the protocol's own leaves and the messages seen.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.naive.naive_cbor import Bad, decode, hashed, id_of, id_of_hash
from tests.naive.naive_facts import Ledger
from tests.naive.naive_records import (
    Body,
    Certificate,
    Header,
    Message,
    Spec,
    body_of,
    certificate_of,
    covered,
    fact_of,
    header_of,
    record,
)
from tests.naive.naive_table import Table, links_of, opens, ranking, table_of
from tests.naive.naive_trees import list_root, map_root

Values = dict[bytes, bytes]
Verify = Callable[[bytes, bytes, bytes], bool]


class Done(NamedTuple):
    """What agents made of a block: the caller's. `changes`: keys that are not `c/…` or `s/…`."""

    changes: Mapping[bytes, bytes | None]
    receipts: list[bytes]
    gas_used: int


class Parent(NamedTuple):
    header: Header
    id: bytes
    values: Values


class After(NamedTuple):
    """A valid block: its header as it must be, the state after it."""

    header: Header
    values: Values


def require(rule: str, holds: bool) -> None:
    if not holds:
        raise Bad(rule)


def gas_limit(parameters: Mapping[str, int], round_: int) -> int:
    return max(parameters["block_gas_max"] >> max(0, round_ - 1), parameters["gas_floor"])


def divider() -> bytes:
    """Between chain-made inputs and messages (wire §3)."""
    return id_of_hash(hashed("inputs"))


def genesis_values(spec: Spec) -> Values:
    """The protocol's own leaves before height 1."""
    owners = tuple(None if slot is None else slot[0] for slot in spec.genesis_slots)
    committed = {slot[0]: slot[1] for slot in spec.genesis_slots if slot is not None}
    table = Table(0, owners)
    start = hashed("genesis", spec.seed)
    return {
        b"c/table": table.raw(),
        b"c/chains": record("chains", [[peer, committed[peer], 0] for peer in table.peers]),
        b"c/ends": record("ends", [[spec.genesis_time_ms, start]]),
    }


class Judge:
    """The rules of one chain."""

    def __init__(self, spec: Spec, verify: Verify) -> None:
        self.spec, self.verify = spec, verify
        self.parameters = spec.parameters

    def epoch(self, height: int) -> int:
        return (height - 1) // int(self.parameters["epoch_blocks"])

    def first(self, epoch: int) -> int:
        return epoch * int(self.parameters["epoch_blocks"]) + 1

    # ---- the block --------------------------------------------------------------------------

    def judge(
        self,
        parent: Parent,
        header_raw: bytes,
        body_raw: bytes,
        messages: list[Message],
        run: Callable[[], Done],
    ) -> After:
        """The state after a valid block; Bad names the rule that another one breaks."""
        header, body = header_of(header_raw), body_of(body_raw)
        certificate = self.check_form(parent, header, body)
        self.check_messages(parent, header, body, messages)
        done = run()
        values = self.changed(parent, header, body, certificate, messages, done)
        table = table_of(values[b"c/table"])
        require("gas_used", header.gas_used == done.gas_used)
        require("gas", header.gas_used <= gas_limit(self.parameters, header.round))
        require("receipts_root", header.receipts_root == list_root(done.receipts))
        require("outputs_root", header.outputs_root == list_root([]))
        require("next_table", header.next_table == table.hash)
        require("state_root", header.state_root == map_root(values))
        return After(header, values)

    def check_form(self, parent: Parent, header: Header, body: Body) -> Certificate | None:
        """Everything but what execution and facts come to."""
        before, numbers = parent.header, self.parameters
        require("chain", header.chain == self.spec.id)
        require("height", header.height == before.height + 1)
        require("round", header.round <= (65_535 if self.spec.votes else 0))
        require("epoch", header.epoch == self.epoch(header.height))
        require("parent", header.parent == parent.id)
        require("time", before.time_ms < header.time_ms)
        require("randomness", header.randomness == self.randomness(parent, header))
        require("main_ref", header.main_ref == before.main_ref)  # no foreign certificates yet
        leaves = [*body.chain_inputs, divider(), *body.messages]
        require("inputs_root", header.inputs_root == list_root(leaves))
        require("facts_root", header.facts_root == list_root(body.facts))
        require("body bytes", len(body.raw()) <= numbers["block_bytes_max"])
        require("facts", len(body.facts) <= numbers["facts_max"])
        require("messages", len(body.messages) <= numbers["block_messages_max"])
        inputs = body.chain_inputs + body.messages
        require("inputs twice", len(set(inputs)) == len(inputs))
        if header.skipped:
            require("skipped early", header.round >= 4)  # execution §5
            places = [inputs.index(each) if each in inputs else -1 for each in header.skipped]
            require("skipped what is not there", -1 not in places)
            require("skipped in order", places == sorted(set(places)))
        self._check_emptiness(parent, header, inputs)
        self._check_proposer(parent, header)
        return self._check_certificate(parent, header, body)

    def randomness(self, parent: Parent, header: Header) -> bytes:
        return hashed("random", parent.header.randomness, header.reveal)

    def _check_emptiness(self, parent: Parent, header: Header, inputs: list[bytes]) -> None:
        beat = 1000 * int(self.parameters["heartbeat_s"])
        late = beat > 0 and header.time_ms >= parent.header.time_ms + beat
        require("empty", bool(inputs) or header.round >= 1 or late)

    def _check_proposer(self, parent: Parent, header: Header) -> None:
        table, links = table_of(parent.values[b"c/table"]), links_of(parent.values[b"c/chains"])
        order = ranking(
            table,
            list(links),
            randomness=parent.header.randomness,
            height=header.height,
            round_=header.round,
        )
        require("rank", header.rank < len(order))
        peer, slot = order[header.rank]
        require("proposer_slot", header.proposer_slot == slot)
        if not any(owner in links for owner in table.peers):
            require("reveal where nobody is ranked", header.reveal is None)
            return
        number = header.height - self.first(header.epoch) + 1
        require("reveal missing", header.reveal is not None)
        assert header.reveal is not None
        holds = opens(self.spec.seed, peer, links[peer], reveal=header.reveal, number=number)
        require("reveal", holds)

    def _check_certificate(self, parent: Parent, header: Header, body: Body) -> Certificate | None:
        if header.height == 1 or not self.spec.votes:
            require("certificate of genesis", header.parent_certificate is None)
            require("certificate of genesis", body.parent_certificate == b"")
            return None
        require("parent_certificate", header.parent_certificate == id_of(body.parent_certificate))
        certificate = certificate_of(body.parent_certificate)
        height = header.height - 1
        require("certified chain", certificate.chain == self.spec.id)
        require("certified epoch", certificate.epoch == self.epoch(height))
        require("certified height", certificate.height == height)
        require("certified block", certificate.block == parent.id)
        # Its round may differ from the header's (protocol §7).
        at = b"c/table" if header.epoch == self.epoch(height) else b"c/previous"
        table = table_of(parent.values[at])
        weight = 0
        for peer, signature in certificate.signatures:
            require("signer owns nothing", peer in table.peers)
            weight += len(table.slots_of(peer))
            canonical = record("accept", *certificate[:5], peer)
            signed = covered("accept", self.spec.id, canonical)
            require("signature", self.verify(peer, signed, signature))
        require("quorum", 3 * weight > 2 * table.occupied)
        return certificate

    def check_messages(
        self, parent: Parent, header: Header, body: Body, messages: list[Message]
    ) -> None:
        """Protocol §9; whether the sender can pay is execution's matter."""
        require("bodies", [message.id for message in messages] == body.messages)
        included = seen(parent.values)
        for message in messages:
            require("message chain", message.chain == message.to[0] == self.spec.id)
            require("expired", header.height <= message.expires_height)
            latest = header.height + self.parameters["expiry_max_blocks"]
            require("expires too late", message.expires_height <= latest)
            require("included before", message.id not in included)
            require("after", message.after is None or message.after in included)
            require("gas of a message", message.gas_max >= 124)  # execution, ADR 0006
            included.append(message.id)

    # ---- the state after it -----------------------------------------------------------------

    def changed(
        self,
        parent: Parent,
        header: Header,
        body: Body,
        certificate: Certificate | None,
        messages: list[Message],
        done: Done,
    ) -> Values:
        """The state after the block."""
        values = dict(parent.values)
        for name, value in done.changes.items():
            put(values, name, value)
        _see(values, header, messages)
        ledger = Ledger(self.spec, self.verify, values, header)
        ledger.drop_used()
        ledger.reveal(parent.values)
        if certificate is not None:
            ledger.sign_of_life([peer for peer, _ in certificate.signatures])
        for raw in body.facts:
            ledger.enter(fact_of(raw))
        ledger.write()
        if header.height == self.first(header.epoch + 1) - 1:
            ledger.end_epoch()
        return values


def put(values: Values, name: bytes, value: bytes | None) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


def _see(values: Values, header: Header, messages: list[Message]) -> None:
    """Dedupe by id within the window; a leaf is dropped whole when nothing in it can come again."""
    for name in _seen_leaves(values):
        if int.from_bytes(name[2:6], "big") < header.height:
            del values[name]
    for expires in sorted({message.expires_height for message in messages}):
        name = b"s/" + expires.to_bytes(4, "big") + header.height.to_bytes(4, "big")
        ids = [message.id for message in messages if message.expires_height == expires]
        values[name] = record("seen", ids)


def _seen_leaves(values: Values) -> list[bytes]:
    return sorted(name for name in values if name.startswith(b"s/"))


def seen(values: Values) -> list[bytes]:
    """Ids of the messages that the window holds."""
    return [each for name in _seen_leaves(values) for each in decode(values[name])[2]]
