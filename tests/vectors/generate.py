"""Writes tests/vectors/*.json: `python -m tests.vectors.generate`. Deterministic; diffs are news.

One file per byte format that is hashed, signed or sent. Records say their canonical list in JSON,
so another implementation needs a CBOR library, sha256 and Ed25519 to check them, nothing of ours.
"""

from collections.abc import Callable
from typing import Any

import dag_cbor

from consensus import merkle
from consensus.block import Body
from consensus.claims import salt
from consensus.dice import Dice
from consensus.encoding import H, encode
from consensus.facts import claim_digest, claimed_slot, hill_height
from consensus.ids import Id, MessageId, account_text, hash_text, id_text, peer_text
from consensus.messages import encode_data
from consensus.parameters import Parameters
from consensus.proofs import build, message_path, receipt_path, state_path
from consensus.proposers import (
    genesis_randomness,
    hash_chain,
    hash_chain_seed,
    next_randomness,
    ranking,
)
from consensus.signatures import KINDS, coverage
from consensus.spec import ChainSpec, SpecDraft
from consensus.statemap import StateMap
from consensus.tables import Table, deal
from consensus.wire import Batch
from node.signer import CHALLENGE_BYTES, INSTANCE, INSTANCE_BYTES, PLAIN_KINDS, plain_coverage
from tests.consensus.builders_keys import account_key
from tests.consensus.builders_proofs import proven_chain
from tests.vectors import ed25519_cases, leaves, records
from tests.vectors.forms import FOLDER, text_of, to_json
from tests.vectors.records import Sample, digest, identifier, public
from tests.vectors.refused import NOT_CANONICAL

Document = dict[str, Any]
PEER_KEYS = [public(key) for key in records.PEERS]


def record_case(sample: Sample) -> Document:
    """A record: its list, its bytes, its id, what each signature in it covers."""
    case: Document = {"name": sample.name, "list": to_json(dag_cbor.decode(sample.raw))}
    case["raw"] = sample.raw.hex()
    if sample.id is not None:
        case["id"] = id_text(sample.id)
    if sample.signatures:
        case["signatures"] = [
            {"key": key.hex(), "covers": covered.hex(), "signature": signature.hex()}
            for key, covered, signature in sample.signatures
        ]
    return case


def record_files() -> dict[str, Document]:
    """One file per tag."""
    found: dict[str, Document] = {}
    more = [
        Sample("parameters", "local", Parameters.local().encode()),
        Sample("parameters", "public", Parameters.public().encode()),
        Sample("spec", "four owners", spec().raw, spec().id),
        Sample("table", "four owners", table().raw),
        Sample("table", "one owner, vacant slots", Table.of(3, [None, PEER_KEYS[0], None]).raw),
        Sample("batch", "two", Batch.encode([records.message().raw] * 2)),
        Sample("dice", "after five words", Dice(digest("dice"), thrown=5).snapshot()),
    ]
    others = [*proof_samples(), *leaves.leaf_samples(), *leaves.query_samples()]
    for sample in [*records.samples(), *more, *others]:
        document = found.setdefault(sample.tag, {"format": sample.tag, "cases": []})
        document["cases"].append(record_case(sample))
    return found


def spec() -> ChainSpec:
    parameters = Parameters.local(slots=60, epoch_blocks=16, claim_close=4)
    draft = SpecDraft(
        name="vectors",
        parameters=parameters,
        genesis_time_ms=1_700_000_000_000,
        nonce=bytes(range(16)),
        genesis_agents=(("token", "native:token/1", b"\xa0"),),
        genesis_balances=((public(records.ALICE), 10**9), (public(records.BOB), 1)),
    )
    owners = deal(parameters.slots, PEER_KEYS)
    return ChainSpec.of(draft, [(peer, H("commitment", peer)) for peer in owners])


def table() -> Table:
    return Table.of(0, deal(60, PEER_KEYS))


def proof_samples() -> list[Sample]:
    chain = proven_chain()
    balance, absent = b"a/" + account_key(3), b"none"
    state = StateMap.of([(b"key %d" % number, b"value") for number in range(40)])
    paths = {
        "state": state_path(b"key 7", state.prove(b"key 7")),
        "absent": state_path(absent, state.prove(absent)),
        "message": message_path(chain.inputs, chain.message),
        "receipt": receipt_path(chain.receipts, 2),
    }
    own = state_path(balance, chain.state.prove(balance))
    whole = build(chain.spec, chain.links, chain.header, chain.certificate, own)
    return [
        Sample("proof", "a balance (its signatures are tests' keyed hash)", whole),
        Sample("state_path", "present", paths["state"].path),
        Sample("state_path", "absent", paths["absent"].path),
        Sample("message_path", "third of six", paths["message"].path),
        Sample("receipt_path", "third of six", paths["receipt"].path),
        Sample("state_proof", "present", state.prove(b"key 7").encode()),
        Sample("state_proof", "absent", state.prove(absent).encode()),
    ]


# ---- what is no record --------------------------------------------------------------------------

VALUES = [
    *[None, True, False, 0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1],
    *[-1, -24, -25, -256, -257, -(2**64), b"", b"\x00" * 24, identifier("looks like a link")],
    *["", "a", "\u00e9", "\u20ac", "\U0001f600", [], [[]], [1, [2, [3]]], {}, {"a": 1}],
    {"bb": 1, "a": 2, "\u00e9": 3, "aa": 4},
]


def values() -> Document:
    return {
        "cases": [{"value": to_json(value), "raw": encode(value).hex()} for value in VALUES],
        "refused": [{"name": name, "raw": raw} for name, raw in NOT_CANONICAL.items()],
    }


def texts() -> Document:
    key = PEER_KEYS[0]
    good = account_text(public(records.ALICE))
    return {
        "peers": [{"key": item.hex(), "text": peer_text(item)} for item in PEER_KEYS],
        "accounts": [{"key": public(records.ALICE).hex(), "text": good}],
        "ids": [{"id": records.CHAIN.hex(), "text": id_text(records.CHAIN)}],
        "hashes": [{"hash": key.hex(), "text": hash_text(key)}],
        "refused_accounts": [
            good.upper(),
            good[:-1] + good[-1].upper(),
            good + "=",
            good[:-1] + chr(ord(good[-1]) ^ 1),
            peer_text(public(records.ALICE)),
            good[:4] + ("b" if good[4] == "a" else "a") + good[5:],
        ],
    }


def hashes() -> Document:
    items = [["tag"], ["tag", 1, b"\x00", None], ["genesis", identifier("seed")]]
    cases = [{"list": to_json(item), "hash": H(*item).hex()} for item in items]
    return {"cases": cases, "covered": covered()}


def covered() -> list[Document]:
    """What a signature of each kind covers, for one canonical list."""
    unsigned = encode(["unsigned", 1, b"\x00"])
    answer = encode([bytes(CHALLENGE_BYTES), bytes(INSTANCE_BYTES)])
    kinds = [*KINDS, *[kind for kind in PLAIN_KINDS if kind not in KINDS]]
    return [
        {
            "kind": kind,
            "chain": records.CHAIN.hex(),
            "canonical": (raw := answer if kind == INSTANCE else unsigned).hex(),
            "covers": plain_coverage(kind, records.CHAIN, raw).hex()
            if kind in PLAIN_KINDS
            else coverage(kind, records.CHAIN, raw).hex(),
        }
        for kind in kinds
    ]


def data() -> Document:
    cases = [
        ("Transfer", {"to": bytes(32), "amount": 5}),
        ("Ping", {}),
        ("N", {"a": [{"b": None}]}),
    ]
    return {
        "cases": [
            {"type": name, "fields": to_json(fields), "raw": encode_data(name, fields).hex()}
            for name, fields in cases
        ]
    }


def merkle_lists() -> Document:
    cases = []
    for count in (0, 1, 2, 3, 4, 5, 7, 8, 13):
        leaves = [b"leaf %d" % index for index in range(count)]
        paths = [[part.hex() for part in merkle.prove(leaves, index)] for index in range(count)]
        case = {"leaves": [leaf.hex() for leaf in leaves], "root": merkle.root(leaves).hex()}
        cases.append({**case, "paths": paths})
    return {"cases": cases, "inputs": block_inputs()}


def block_inputs() -> list[Document]:
    """inputs_root of chain-made inputs, the divider, messages: where one ends is bound too."""
    ids = [Id(identifier(f"input {number}")) for number in range(3)]
    made = []
    for border in range(4):
        first, rest = tuple(ids[:border]), tuple([MessageId(each) for each in ids[border:]])
        body = Body.of(parent_certificate=b"", facts=(), chain_inputs=first, messages=rest)
        made.append(
            {
                "chain_inputs": [each.hex() for each in first],
                "messages": [each.hex() for each in rest],
                "root": merkle.root(body.input_leaves).hex(),
            }
        )
    return made


def state_keys() -> Document:
    return {"cases": leaves.key_cases(), "balances": leaves.balance_cases()}


def made_ids() -> Document:
    agents = [{"name": name, "agent": H("agent", name).hex()} for name in ("token", "ping")]
    return {"agents": agents, "inputs": leaves.queued_ids()}


def state_maps() -> Document:
    cases = []
    for count in (0, 1, 2, 3, 16, 100):
        pairs = [(b"key %d" % index, b"value %d" % (index % 3)) for index in range(count)]
        entries = [[key.hex(), value.hex()] for key, value in pairs]
        cases.append({"entries": entries, "root": StateMap.of(pairs).root.hex()})
    return {"cases": cases}


def claims() -> Document:
    item = records.claim()
    content = {"salt": digest("salt"), "peer": item.peer, "nonce": item.nonce}
    found = claim_digest(chain=item.chain, commitment=item.commitment, **content)
    case = {"chain": item.chain, "commitment": item.commitment, **content, "digest": found}
    numbers = {"slots": 60, "slot": claimed_slot(found, 60), "hill": str(hill_height(found))}
    return {"cases": [{**{name: part.hex() for name, part in case.items()}, **numbers}]}


def randomness() -> Document:
    seed, first = identifier("spec seed"), genesis_randomness(identifier("spec seed"))
    links = hash_chain(digest("hash chain seed"), seed, PEER_KEYS[0], 5)
    second = next_randomness(first, links[1])
    order = ranking(table(), PEER_KEYS, randomness=second, height=3, round=1)
    return {
        "spec_seed": seed.hex(),
        "peer": PEER_KEYS[0].hex(),
        "links": [part.hex() for part in links],
        "randomness": [first.hex(), second.hex(), next_randomness(second, None).hex()],
        "salts": [
            {"epoch": epoch, "randomness": second.hex(), "salt": salt(seed, epoch, second).hex()}
            for epoch in (1, 2, 3)
        ],
        "hash_chain_seeds": [
            {
                "key": digest("key of a peer").hex(),
                "epoch": epoch,
                "seed": hash_chain_seed(digest("key of a peer"), seed, epoch).hex(),
            }
            for epoch in (0, 1, 2**40)
        ],
        "ranking": {
            "table": table().raw.hex(),
            "height": 3,
            "round": 1,
            "owners": [[owner.hex(), slot] for owner, slot in order],
        },
    }


def throws() -> Document:
    dice = Dice(digest("dice"))
    return {
        "seed": digest("dice").hex(),
        "uint_1000": [dice.uint(1000) for _ in range(8)],
        "sample_60_20": list(dice.sample(60, 20)),
        "raw_20": dice.raw(20).hex(),
        "child": dice.child("name").raw(8).hex(),
    }


def signatures() -> Document:
    cases = [
        {
            "name": case.name,
            "key": case.key.hex(),
            "message": case.message.hex(),
            "signature": case.signature.hex(),
            "valid": case.valid,
        }
        for case in ed25519_cases.cases()
    ]
    return {"cases": cases}


OTHERS: dict[str, Callable[[], Document]] = {
    "values": values,
    "texts": texts,
    "hashes": hashes,
    "data": data,
    "merkle": merkle_lists,
    "state_keys": state_keys,
    "made_ids": made_ids,
    "state_map": state_maps,
    "claim_digest": claims,
    "randomness": randomness,
    "throws": throws,
    "ed25519": signatures,
}


def documents() -> dict[str, Document]:
    """File name without ending → what belongs in it."""
    others = {name: {"format": name, **make()} for name, make in OTHERS.items()}
    return record_files() | others


def main() -> None:
    for name, document in documents().items():
        (FOLDER / f"{name}.json").write_text(text_of(document))


if __name__ == "__main__":
    main()
