"""The vector files by the naive implementation alone: what another implementation would do."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.naive import naive_cbor, naive_records, naive_table, naive_trees

FOLDER = Path(__file__).parent.parent / "vectors"
READERS = {
    "accept": naive_records.vote_of,
    "body": naive_records.body_of,
    "certificate": naive_records.certificate_of,
    "claim": naive_records.fact_of,
    "confirm": naive_records.vote_of,
    "double": naive_records.fact_of,
    "evidence": naive_records.fact_of,
    "header": naive_records.header_of,
    "late": naive_records.fact_of,
    "message": naive_records.message_of,
    "renew": naive_records.fact_of,
    "table": naive_table.table_of,
}


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


RECORDS = sorted(
    path.stem
    for path in FOLDER.glob("*.json")
    if path.stem != "state_keys"
    and "raw" in ((json.loads(path.read_text()).get("cases") or [{}])[0])
)


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_canonical(name: str) -> None:
    for case in load(name)["cases"]:
        raw = unhex(case["raw"])
        assert naive_cbor.encode(naive_cbor.decode(raw)) == raw
        if name in READERS:
            READERS[name](raw)


def test_refused_bytes_are_refused() -> None:
    for case in load("values")["refused"]:
        with pytest.raises(naive_cbor.Bad):
            naive_cbor.decode(unhex(case["raw"]))


def test_lists() -> None:
    document = load("merkle")
    for case in document["cases"]:
        leaves = [unhex(leaf) for leaf in case["leaves"]]
        assert naive_trees.list_root(leaves).hex() == case["root"]
        for index in range(len(leaves)):
            path = [part.hex() for part in naive_trees.list_path(leaves, index)]
            assert path == case["paths"][index]
    divider = naive_cbor.id_of_hash(naive_cbor.hashed("inputs"))
    for case in document["inputs"]:
        first = [unhex(each) for each in case["chain_inputs"]]
        leaves = [*first, divider, *[unhex(each) for each in case["messages"]]]
        assert naive_trees.list_root(leaves).hex() == case["root"]
    assert len({case["root"] for case in document["inputs"]}) == len(document["inputs"])


def test_maps() -> None:
    for case in load("state_map")["cases"]:
        values = {unhex(key): unhex(value) for key, value in case["entries"]}
        assert naive_trees.map_root(values).hex() == case["root"]


def test_claims() -> None:
    for case in load("claim_digest")["cases"]:
        slot, height = naive_table.stand(
            unhex(case["chain"]),
            unhex(case["salt"]),
            unhex(case["peer"]),
            unhex(case["nonce"]),
            commitment=unhex(case["commitment"]),
            slots=case["slots"],
        )
        assert (slot, str(int.from_bytes(height, "big"))) == (case["slot"], case["hill"])


def test_salts_and_seeds_of_hash_chains() -> None:
    document = load("randomness")
    seed = unhex(document["spec_seed"])
    for case in document["salts"]:
        epoch, randomness = case["epoch"], unhex(case["randomness"])
        salted = seed if epoch == 1 else randomness
        assert naive_cbor.hashed("salt", epoch, salted).hex() == case["salt"]
    for case in document["hash_chain_seeds"]:
        info = b"apocryph/1/hash-chain" + case["epoch"].to_bytes(8, "big")
        derived = HKDF(SHA256(), 32, salt=seed, info=info).derive(unhex(case["key"]))
        assert derived.hex() == case["seed"]


def test_order_and_links() -> None:
    document = load("randomness")
    seed, peer = unhex(document["spec_seed"]), unhex(document["peer"])
    links = [unhex(part) for part in document["links"]]
    for number in range(1, 5):
        standing = naive_table.Link(links[0], 0)
        assert naive_table.opens(seed, peer, standing, reveal=links[number], number=number)
        assert not naive_table.opens(seed, peer, standing, reveal=links[number], number=number - 1)
    ranked = document["ranking"]
    table = naive_table.table_of(unhex(ranked["table"]))
    order = naive_table.ranking(
        table,
        table.peers,
        randomness=unhex(document["randomness"][1]),
        height=ranked["height"],
        round_=ranked["round"],
    )
    assert [[owner.hex(), slot] for owner, slot in order] == ranked["owners"]


def test_what_signatures_cover() -> None:
    cases = load("hashes")["covered"]
    for case in cases:
        covers = naive_records.covered(case["kind"], unhex(case["chain"]), unhex(case["canonical"]))
        assert covers.hex() == case["covers"]
    assert len({case["covers"] for case in cases}) == len(cases) == 8
