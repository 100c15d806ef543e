"""The vector files against other people's libraries: dag-cbor, hashlib, libsodium.

Nothing of `consensus` is asked here but whether it reads what it wrote; what a vector says must
follow from its JSON alone, as it must for anybody who implements the protocol anew.
"""

import hashlib
from base64 import b32encode

import dag_cbor
import pytest
from nacl.bindings import crypto_sign_open

from tests.vectors.forms import FOLDER, from_json, load, text_of
from tests.vectors.generate import documents

PREFIX = bytes((1, 0x71, 0x12, 0x20))
DOCUMENTS = documents()
RECORDS = [
    pytest.param(case, id=f"{name}: {case['name']}")
    for name, document in DOCUMENTS.items()
    for case in document.get("cases", [])
    if "list" in case and "raw" in case
]
SIGNED_BY_ITSELF = {"message", "confirm", "accept", "claim", "renew"}


def sha(value) -> bytes:
    return hashlib.sha256(dag_cbor.encode(value)).digest()


def base32(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=").lower()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_are_what_the_generator_writes(name):
    assert (FOLDER / f"{name}.json").read_text() == text_of(DOCUMENTS[name])


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_is_its_list(case):
    items = from_json(case["list"])
    assert dag_cbor.encode(items).hex() == case["raw"]
    assert isinstance(items[0], str) and isinstance(items[1], int)


@pytest.mark.parametrize("case", [param for param in RECORDS if "id" in param.values[0]])
def test_an_id_is_the_hash_of_what_it_names(case):
    items = from_json(case["list"])
    if items[0] == "message":  # the id leaves the signature out
        raw = dag_cbor.encode(items[:-1])
    elif items[0] == "proposal":  # the id is the header's
        raw = items[2]
    else:
        raw = bytes.fromhex(case["raw"])
    assert case["id"] == "b" + base32(PREFIX + hashlib.sha256(raw).digest())


@pytest.mark.parametrize("case", [param for param in RECORDS if "signatures" in param.values[0]])
def test_signatures_cover_domain_chain_and_content(case):
    items = from_json(case["list"])
    for part in case["signatures"]:
        key, covers, signature = (bytes.fromhex(part[name]) for name in part)
        assert crypto_sign_open(signature + covers, key) == covers
        domain, _, rest = covers.partition(b"\x00")
        _, version, kind = domain.split(b"/")
        chain, content = rest[:36], dag_cbor.decode(rest[36:])
        assert (version, chain) == (b"1", content[2])
        assert domain.startswith(b"apocryph/")
        if items[0] in SIGNED_BY_ITSELF:
            assert kind.decode() == items[0]
            assert (content, signature) == (items[:-1], items[-1])


def test_a_proposer_signs_the_place_and_the_id_of_its_header():
    for case in load("proposal")["cases"]:
        header = dag_cbor.decode(from_json(case["list"])[2])
        covers = bytes.fromhex(case["signatures"][0]["covers"])
        _, chain, height, round_, epoch = header[1:6]
        block = PREFIX + sha(header)
        expected = ["propose", 1, chain, epoch, height, round_, header[8], block]
        prefix = b"apocryph/1/proposal\x00" + chain
        assert covers == prefix + dag_cbor.encode(expected)


def test_the_accepts_of_a_certificate_are_votes_without_their_common_part():
    for name, phase in (("certificate", "accept"), ("aggregate", "confirm")):
        for case in load(name)["cases"]:
            _, _, *place, signatures = from_json(case["list"])
            assert signatures == sorted(signatures)
            for (key, signature), part in zip(signatures, case["signatures"], strict=True):
                vote = dag_cbor.encode([phase, 1, *place, key])
                prefix = b"apocryph/1/" + phase.encode() + b"\x00" + place[0]
                assert part["covers"] == (prefix + vote).hex()
                assert (part["key"], part["signature"]) == (key.hex(), signature.hex())


def test_values():
    for case in load("values")["cases"]:
        assert dag_cbor.encode(from_json(case["value"])).hex() == case["raw"]


def test_texts():
    document = load("texts")
    for kind, name in ((0, "peers"), (1, "accounts")):
        for case in document[name]:
            body = bytes((kind,)) + bytes.fromhex(case["key"])
            checksum = hashlib.sha256(body).digest()[:4]
            assert case["text"] == "apx1" + base32(body + checksum)
    for case in document["ids"]:
        assert case["text"] == "b" + base32(bytes.fromhex(case["id"]))
    for case in document["hashes"]:
        assert case["text"] == base32(bytes.fromhex(case["hash"]))


def test_hashes():
    for case in load("hashes")["cases"]:
        assert sha(from_json(case["list"])).hex() == case["hash"]


def test_claim_digests():
    for case in load("claim_digest")["cases"]:
        names = ("chain", "salt", "peer", "nonce", "commitment")
        digest = sha([bytes.fromhex(case[name]) for name in names])
        assert digest.hex() == case["digest"]
        assert int.from_bytes(digest[:8], "big") % case["slots"] == case["slot"]
        assert str(int.from_bytes(digest[8:], "big")) == case["hill"]


def test_randomness():
    document = load("randomness")
    seed, peer = bytes.fromhex(document["spec_seed"]), bytes.fromhex(document["peer"])
    links = [bytes.fromhex(part) for part in document["links"]]
    for number in range(4):
        assert links[number] == sha(["link", seed, peer, links[number + 1]])
    first, second, third = (bytes.fromhex(part) for part in document["randomness"])
    assert first == sha(["genesis", seed])
    assert second == sha(["random", first, links[1]])
    assert third == sha(["random", second, None])
    ranked = document["ranking"]
    owners = dag_cbor.decode(bytes.fromhex(ranked["table"]))[4]
    slots = [(sha(["order", second, 3, 1, slot]), slot, key) for key, own in owners for slot in own]
    best = {}
    for _, slot, key in sorted(slots):
        best.setdefault(key, slot)
    assert [[key.hex(), slot] for key, slot in best.items()] == ranked["owners"]


def test_data():
    for case in load("data")["cases"]:
        fields = from_json(case["fields"])
        assert dag_cbor.encode([case["type"], fields]).hex() == case["raw"]


def test_made_ids():
    document = load("made_ids")
    for case in document["agents"]:
        assert sha(["agent", case["name"]]).hex() == case["agent"]
    for case in document["inputs"]:
        assert (PREFIX + sha(from_json(case["list"]))).hex() == case["id"]


def test_state_keys():
    document = load("state_keys")
    for case in document["cases"]:
        assert bytes.fromhex(case["raw"]).startswith(case["name"].split(" ")[0].encode())
    for case in document["balances"]:
        assert dag_cbor.encode(int(case["amount"])).hex() == case["raw"]


def test_the_page_of_formats_names_every_vector_file():
    page = (FOLDER.parents[1] / "docs" / "wire.md").read_text()
    assert [name for name in DOCUMENTS if f"`{name}.json`" not in page] == []
