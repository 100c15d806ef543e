"""Samples of what the state holds and of what peers ask each other."""

from consensus import leaves
from consensus.encoding import H, encode
from consensus.ids import ID_PREFIX
from consensus.proposers import ChainState
from consensus.tables import Bid
from node.execution import keys
from tests.vectors import records
from tests.vectors.records import CHAIN, PEERS, TOKEN, Sample, digest, identifier, public

PEER = public(PEERS[0])


def leaf_samples() -> list[Sample]:
    """Values of the state that are records."""
    chains = {public(key): ChainState(digest("link"), number) for number, key in enumerate(PEERS)}
    ends = (leaves.EpochEnd(1_700_000_000_000, digest("end 1")), leaves.EpochEnd(5, digest("end")))
    hill = int.from_bytes(digest("hill")[:24], "big")
    return [
        Sample("chains", "four", leaves.encode_chains(chains)),
        Sample("signing", "two", leaves.encode_signing(frozenset(list(chains)[:2]))),
        Sample("ends", "two", leaves.encode_ends(ends)),
        Sample("bid", "plain", leaves.encode_bid(Bid(PEER, hill))),
        Sample("commitment", "by claim", leaves.encode_commitment((digest("c"), False))),
        Sample("commitment", "by renewal", leaves.encode_commitment((digest("c"), True))),
        Sample("offence", "plain", leaves.encode_offence(3)),
        Sample("agent", "fresh", keys.AgentRecord("native:token/1").encode()),
        Sample("agent", "busy", keys.AgentRecord("native:pingpong/1", 300, 299, 1).encode()),
        Sample("seen", "two", keys.encode_seen([records.message().id, identifier("other")])),
    ]


def key_cases() -> list[dict[str, str]]:
    """Keys of the state, each with how it is made up."""
    made = {
        "a/ ‖ account": keys.balance_key(public(records.ALICE)),
        "g/ ‖ agent": keys.agent_key(TOKEN),
        "g/ ‖ agent ‖ / ‖ field": keys.field_key(TOKEN, "count"),
        "s/ ‖ u32 expires ‖ u32 height (300, 42)": keys.seen_key(300, 42),
        "r/ ‖ u64 ms ‖ id (1700000000000)": keys.reminder_key(1_700_000_000_000, CHAIN),
        "o/ ‖ agent ‖ u64 number (7)": keys.outbox_key(TOKEN, 7),
        "c/table": leaves.TABLE_KEY,
        "c/previous": leaves.PREVIOUS_KEY,
        "c/chains": leaves.CHAINS_KEY,
        "c/signing": leaves.SIGNING_KEY,
        "c/ends": leaves.ENDS_KEY,
        "c/claims/ ‖ u16 slot (59)": leaves.claim_key(59),
        "c/commitments/ ‖ u32 epoch ‖ peer (2)": leaves.commitment_key(2, PEER),
        "c/evidence/ ‖ peer ‖ u32 epoch (2)": leaves.evidence_key(PEER, 2),
    }
    return [{"name": name, "raw": raw.hex()} for name, raw in made.items()]


def balance_cases() -> list[dict[str, object]]:
    """Balances: a canonical whole number; nothing has no leaf."""
    found: list[dict[str, object]] = []
    for amount in (1, 23, 24, 1000, 2**32, 2**64 - 1):
        raw = keys.encode_balance(amount)
        assert raw is not None, "only nothing has no leaf"
        found.append({"amount": str(amount), "raw": raw.hex()})
    return found


def query_samples() -> list[Sample]:
    """Questions (`ask`) and answers of the queries between peers; `node.speech` reads them."""
    item = records.proposal()
    header, body = item.block.header.raw, item.block.body.raw
    certificate, message = records.certificate().raw, records.message().raw
    signed = [item.peer, item.signature]
    made = {
        "poll/1 ask": ["poll", 1, CHAIN, 42],
        "poll/1 answer: preference": ["answer", 1, 42, 0, item.id],
        "poll/1 answer: none": ["answer", 1, 42, 0, None],
        "poll/1 answer: past height": ["past", 1, certificate],
        "block/1 ask by height": ["block", 1, 42, None],
        "block/1 ask a candidate": ["block", 1, 42, item.id],
        "block/1 answer: certified": ["block", 1, header, body, certificate, None, [message]],
        "block/1 answer: candidate": ["block", 1, header, body, b"", signed, []],
        "block/1 answer: none": ["none", 1],
        "bodies/1 ask": ["bodies", 1, [records.message().id]],
        "bodies/1 answer": ["bodies", 1, [message]],
        "tip/1 ask": ["tip", 1],
        "tip/1 answer": ["tip", 1, 42],
        "cert/1 push": ["push", 1, certificate],
    }
    return [Sample("queries", name, encode(value)) for name, value in made.items()]


def queued_ids() -> list[dict[str, object]]:
    """Ids that the chain makes: prefix ‖ H(…)."""
    source = records.message().id
    return [
        {"list": ["input", {"hex": source.hex()}, 0], "id": made("input", source, 0).hex()},
        {"list": ["init", {"hex": TOKEN.hex()}], "id": made("init", TOKEN).hex()},
    ]


def made(tag: str, *items: object) -> bytes:
    return ID_PREFIX + H(tag, *items)
