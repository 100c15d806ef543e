"""Challenges between two instances of one key: what proves a twin, and what does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from consensus.encoding import encode
from consensus.errors import EncodingError
from consensus.ids import ChainId, Id, Peer, Signature, content_id
from network.ports import Verdict
from node.agents.twins import (
    CHALLENGE_EVERY_S,
    CHALLENGE_S,
    SAID_BURST,
    STATEMENT_BYTES_MAX,
    Heard,
    Twins,
)
from node.signer import INSTANCE, plain_coverage
from node.verifier import SodiumVerifier

CHAIN, OTHER_CHAIN = ChainId(content_id(b"chain")), ChainId(content_id(b"another"))


class Node:
    """A node with a key, as one running instance."""

    def __init__(self, seed: int = 1, chain: ChainId = CHAIN) -> None:
        self.key, self.chain = SigningKey(bytes((seed,)) * 32), chain
        self.peer = Peer(bytes(self.key.verify_key))
        self.instance, self.now = os.urandom(16), 1_000.0
        self.proofs: list[str] = []
        self.twins = Twins(
            chain,
            self.peer,
            self.instance,
            sign=self.sign,
            verifier=SodiumVerifier(),
            random_bytes=os.urandom,
            clock=lambda: self.now,
            found=self.proofs.append,
        )

    def sign(self, challenge: bytes, instance: bytes) -> Signature:
        signed = plain_coverage(INSTANCE, self.chain, encode([challenge, instance]))
        return Signature(self.key.sign(signed).signature)

    def hear(self, data: bytes, owns: Callable[[Peer], bool] = lambda peer: True) -> Heard:
        return self.twins.hear(data, owns)


def test_two_instances_find_each_other() -> None:
    one, two = Node(), Node()
    asked = one.twins.challenge()
    assert len(asked) <= STATEMENT_BYTES_MAX
    heard = two.hear(asked)
    assert (heard.verdict, two.proofs) == (Verdict.IGNORE, [])
    assert one.hear(heard.answer).answer == b""
    assert one.proofs == [f"instance {two.instance.hex()} answered as this key"]
    back = two.twins.challenge()
    assert two.hear(one.hear(back).answer).answer == b""
    assert two.proofs == [f"instance {one.instance.hex()} answered as this key"]


def test_what_was_said_before_this_challenge_proves_nothing() -> None:
    one, before = Node(), Node()
    old = [before.twins.challenge(), before.hear(one.twins.challenge()).answer]
    one.now += CHALLENGE_EVERY_S
    assert one.twins.challenge(), "a new one; the answer to the last is too late now"
    for statement in old:
        assert one.hear(statement).answer, "it is answered, as any challenge"
    assert one.proofs == []


def test_an_answer_that_takes_too_long_proves_nothing() -> None:
    one, two = Node(), Node()
    answer = two.hear(one.twins.challenge()).answer
    one.now += CHALLENGE_S + 1
    one.hear(answer)
    assert one.proofs == []


def test_nobody_else_can_have_it_sign() -> None:
    one, stranger = Node(), Node(2)
    asked = stranger.twins.challenge()
    assert one.hear(asked) == Heard(Verdict.ACCEPT, one.hear(asked).key, "")
    assert one.hear(asked, lambda peer: False).cause == "stranger"
    forged = asked.replace(stranger.peer, one.peer)
    assert one.hear(forged)[::2] == (Verdict.REJECT, "signature")
    other = Node(1, OTHER_CHAIN).twins.challenge()
    assert one.hear(other)[::2] == (Verdict.REJECT, "signature")
    assert one.proofs == []


def test_its_own_words_come_back_and_mean_nothing() -> None:
    one = Node()
    heard = one.hear(one.twins.challenge())
    assert (heard.verdict, heard.answer, one.proofs) == (Verdict.IGNORE, b"", [])


def test_challenges_and_what_is_passed_on_are_bounded() -> None:
    one, two, other = Node(), Node(), Node(2)
    assert one.twins.challenge()
    assert one.twins.challenge() == b"", "however many the hints"
    one.now += CHALLENGE_EVERY_S
    assert one.twins.challenge()
    said = [one.hear(other.twins.challenge() or b"")]
    for _ in range(SAID_BURST):
        other.now += CHALLENGE_EVERY_S
        said.append(one.hear(other.twins.challenge()))
    assert said[SAID_BURST - 1].verdict is Verdict.ACCEPT
    assert said[SAID_BURST].cause == "flood"
    assert one.hear(two.twins.challenge()).answer, "others have their own bound"


@pytest.mark.parametrize("data", [b"", b"\xff", bytes(STATEMENT_BYTES_MAX + 1)])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        Node().hear(data)


def test_nonces_have_their_length() -> None:
    node = Node()
    short = encode(["instance", 1, bytes(node.peer), bytes(31), bytes(16), bytes(64)])
    with pytest.raises(EncodingError, match="another length"):
        node.hear(short)


def test_the_bytes_of_a_statement() -> None:
    path = Path(__file__).parents[1] / "vectors" / "network" / "instance.json"
    vector = json.loads(path.read_text())
    peer, chain, challenge, instance, signature = [
        bytes.fromhex(vector[name])
        for name in ("peer", "chain", "challenge", "instance", "signature")
    ]
    signed = b"apocryph/1/instance\0" + chain + b"\x82\x58\x20" + challenge + b"\x50" + instance
    assert signed.hex() == vector["signed"]
    key = SigningKey(bytes.fromhex(vector["secret"]))
    assert key.sign(signed).signature == signature
    head = b"\x86\x68instance\x01\x58\x20" + peer + b"\x58\x20" + challenge
    raw = head + b"\x50" + instance + b"\x58\x40" + signature
    assert raw.hex() == vector["raw"]
    heard = Node(2, ChainId(Id(chain))).hear(raw)
    assert (heard.verdict, heard.key) == (Verdict.ACCEPT, peer + challenge + instance)
