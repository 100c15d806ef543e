"""Proof files: one spelling, every bit judged, the failing check named."""

import json
from pathlib import Path

import pytest

from consensus import proofs
from consensus.errors import InvalidProof
from consensus.ids import ChainId, id_text
from node.client import AsyncClient
from node.prooffile import file_text, read_file
from node.verifier import SodiumVerifier
from tests.node.gateway_lab import running, transfer


@pytest.fixture
async def proof(tmp_path: Path) -> tuple[ChainId, bytes]:
    """(chain, bytes) of a small proof of a receipt."""
    async with running(tmp_path) as node, AsyncClient(node.gateway.url) as client:
        one = transfer(node)
        await client.send(one, wait=True)
        return node.chain_id, await client.proof(id_text(one.id))


def check(content: bytes, chain: ChainId, verifier: SodiumVerifier) -> proofs.Proved:
    return proofs.verify(read_file(content), chain, verifier=verifier)


def test_a_file_is_read_back(proof: tuple[ChainId, bytes]) -> None:
    chain, raw = proof
    text = file_text(raw)
    assert read_file(text.encode()) == raw
    verifier = SodiumVerifier()
    assert check(text.encode(), chain, verifier).height == 1
    enveloped = json.dumps({"schema": "apocryph/1", "data": {"file": text}}).encode()
    assert check(enveloped, chain, verifier).height == 1
    verifier.close()


def flips(proof: tuple[ChainId, bytes], bits: range, *, every: int) -> None:
    """Flip bits of each byte of the file, and each byte of the proof; all must be refused."""
    chain, raw = proof
    verifier = SodiumVerifier()
    content = file_text(raw).encode()
    for index in range(0, len(content), every):
        for bit in bits:
            flipped = bytearray(content)
            flipped[index] ^= 1 << (bit + index) % 8
            with pytest.raises(InvalidProof) as caught:
                check(bytes(flipped), chain, verifier)
            assert caught.value.check
    for index in range(0, len(raw), every):
        for bit in bits:
            bent = bytearray(raw)
            bent[index] ^= 1 << (bit + index) % 8
            with pytest.raises(InvalidProof) as caught:
                proofs.verify(bytes(bent), chain, verifier=verifier)
            assert caught.value.check
    verifier.close()


def test_flipped_bits_are_refused(proof: tuple[ChainId, bytes]) -> None:
    flips(proof, range(1), every=17)


@pytest.mark.slow
def test_a_flipped_bit_in_any_byte_is_refused(proof: tuple[ChainId, bytes]) -> None:
    flips(proof, range(1), every=1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_flipped_bit_is_refused(proof: tuple[ChainId, bytes]) -> None:
    flips(proof, range(8), every=1)


def test_cut_and_longer_proofs_are_refused(proof: tuple[ChainId, bytes]) -> None:
    chain, raw = proof
    verifier = SodiumVerifier()
    for bent in (b"", raw[:-1], raw + b"\x00", raw + raw):
        with pytest.raises(InvalidProof):
            proofs.verify(bent, chain, verifier=verifier)
    verifier.close()


def test_another_chain_is_refused_by_name_of_the_check(proof: tuple[ChainId, bytes]) -> None:
    _, raw = proof
    verifier = SodiumVerifier()
    with pytest.raises(InvalidProof) as caught:
        check(file_text(raw).encode(), ChainId(raw[:36]), verifier)
    assert caught.value.check == "chain id"
    verifier.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b'{"proof": 5}',
        b'{"proof": "1"}',
        b'{"apocryph_proof": 1, "proof": "", "more": 1}',
        b'{"schema": "apocryph/1", "data": null}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_proof_file_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidProof) as caught:
        read_file(content)
    assert caught.value.check == "file form"


def test_another_spelling_of_the_same_file_is_refused(proof: tuple[ChainId, bytes]) -> None:
    text = file_text(proof[1])
    for other in (
        text.upper(),
        text.rstrip("\n"),
        text.replace(" ", ""),
        text.replace('"\n', '="\n'),
    ):
        with pytest.raises(InvalidProof, match="file form"):
            read_file(other.encode())
