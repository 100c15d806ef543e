"""The queries' vectors are what `node.speech` reads: docs and code say the same."""

import pytest

from consensus.effects import BLOCK, BODIES, CERT, POLL, TIP
from consensus.errors import EncodingError
from consensus.events import (
    AnswerReceived,
    AskFailed,
    CertificateReceived,
    Fetched,
    Missing,
    PollReceived,
    TipReceived,
)
from node import speech
from tests.vectors import records
from tests.vectors.forms import load


class Yes:
    """Signatures are judged elsewhere; here only the form is."""

    def verify(self, key: bytes, signed: bytes, signature: bytes) -> bool:
        return True


class Shelf:
    """A library with one block of each kind and one message."""

    def tip(self) -> int:
        return 42

    def certified(self, height: int) -> speech.Held | None:
        block = records.proposal().block
        return speech.Held(block, records.certificate().raw, None) if height == 42 else None

    def candidate(self, block: bytes) -> speech.Held | None:
        item = records.proposal()
        return speech.Held(item.block, b"", (item.peer, item.signature))

    def bodies(self, ids):
        return [records.message().raw for key in ids if key == records.message().id]


CASES = {case["name"]: bytes.fromhex(case["raw"]) for case in load("queries")["cases"]}
PEER = records.public(records.PEERS[0])


@pytest.mark.parametrize(
    ("proto", "ask", "answer"),
    [
        (BLOCK, "block/1 ask by height", "block/1 answer: certified"),
        (BODIES, "bodies/1 ask", "bodies/1 answer"),
        (TIP, "tip/1 ask", "tip/1 answer"),
    ],
)
def test_questions_are_answered_as_the_vectors_say(proto, ask, answer):
    assert speech.answer(Shelf(), proto, CASES[ask]) == CASES[answer]


@pytest.mark.parametrize(
    ("proto", "answer", "events"),
    [
        (POLL, "poll/1 answer: preference", [AnswerReceived]),
        (POLL, "poll/1 answer: none", [AnswerReceived]),
        (POLL, "poll/1 answer: past height", [CertificateReceived, AskFailed]),
        (BLOCK, "block/1 answer: certified", [Fetched]),
        (BLOCK, "block/1 answer: candidate", [Fetched]),
        (BLOCK, "block/1 answer: none", [Missing]),
        (BODIES, "bodies/1 answer", [Fetched]),
        (TIP, "tip/1 answer", [TipReceived]),
    ],
)
def test_answers_are_read(proto, answer, events):
    found = speech.read_reply(proto, CASES[answer], 1, PEER, Yes())
    assert [type(event) for event in found] == events
    for raw in (CASES[answer] + b"\x00", CASES[answer][:-1]):
        with pytest.raises(EncodingError):
            speech.read_reply(proto, raw, 1, PEER, Yes())


def test_what_the_engine_answers_itself():
    poll = speech.asked(POLL, CASES["poll/1 ask"], 1, PEER, records.CHAIN)
    assert isinstance(poll, PollReceived) and poll.height == 42
    pushed = speech.asked(CERT, CASES["cert/1 push"], 1, PEER, records.CHAIN)
    assert isinstance(pushed, CertificateReceived) and pushed.certificate == records.certificate()
