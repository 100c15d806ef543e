"""The runner of `cases/rounds.jsonl`: polls of one real engine, from its proposal to settling.

Twelve slots and `Parameters.local`: all slots are drawn in every poll, so weights are certain.
Every transcript also runs on an engine that is saved and restored before each event.
"""

from typing import Any

import pytest

from consensus.block import Block
from consensus.effects import BLOCK, Ask, Effect, Reply
from consensus.encoding import decode
from consensus.engine import Engine
from consensus.events import AnswerReceived, AskFailed, Event, PollReceived
from consensus.ids import BlockId, Height, Round
from node import codec
from tests.consensus.builders_engine import POLL_MS, Desk
from tests.consensus.builders_keys import peer_key
from tests.transcripts.transcript_files import Case, called, cases

ROUNDS = cases("rounds")
UNKNOWN = BlockId(b"\x01\x71\x12\x20" + b"u" * 32)
REPLY_BYTES_MAX = 65_536
LAST_RANK = {4: 3, 6: 5}


class RestartingDesk(Desk):
    """Saves and restores the whole machine before every event."""

    def send(self, event: Event) -> list[Effect]:
        spec, pool = self.machine.spec, self.machine.pool
        raw = codec.to_bytes(self.machine)
        machine = codec.from_bytes(raw)
        assert codec.to_bytes(machine) == raw
        machine.spec, machine.pool = spec, pool
        self.engine = Engine.resume(machine)
        return super().send(event)


class Player:
    """Plays steps on a desk whose peer has the last rank, so that it never proposes itself."""

    def __init__(self, kind: type[Desk], owners: int) -> None:
        desks = [kind(number, owners=owners) for number in range(owners)]
        self.desk = next(desk for desk in desks if desk.my_rank() == LAST_RANK[owners])
        self.desk.due()
        self.blocks: dict[str, Block] = {}
        self.asks: list[Ask] = []  # of the group that opened last, answered ones too

    def value(self, name: str | None) -> BlockId | None:
        if name is None or name == "unknown":
            return UNKNOWN if name else None
        return self.blocks[name].id

    def name(self, value: BlockId | None) -> str | None:
        return next((name for name, block in self.blocks.items() if block.id == value), None)

    def answer(
        self, ask: Ask, name: str | None, *, ahead: int = 0, peer: int | None = None
    ) -> None:
        standing = self.desk.standing
        sender = ask.peer if peer is None else self.asks[peer].peer
        value = self.value(name)
        height, round_ = Height(standing.height + ahead), Round(standing.round)
        self.desk.send(AnswerReceived(ask.ask, sender, height, round_, value))

    # ---- steps ----------------------------------------------------------------------------------

    def step(self, kind: str, *words: Any) -> None:
        """One line of a transcript; places number the queries of the open group in their order."""
        desk = self.desk
        open_now = desk.polls()
        if kind != "again" and any(ask not in self.asks for ask in open_now):
            self.asks = open_now  # a new group
        match kind, words:
            case "due", ():
                desk.due()
            case "wait", (ms,):
                desk.wait(ms)
            case "wait for asks", ():
                while not desk.polls():
                    desk.wait(POLL_MS // 10)
            case "propose", (rank,):
                self.blocks[f"p{rank}"] = desk.propose(rank)
            case "propose invalid", (rank,):
                block = desk.block(rank)
                desk.verdicts[block.id] = "state_root"
                self.blocks[f"p{rank}"] = desk.propose(rank)
            case "answer", (place, name):
                self.answer(self.asks[place], name)
            case "answer at", (place, name, ahead):
                self.answer(self.asks[place], name, ahead=ahead)
            case "again", (place, name):
                self.answer(self.asks[place], name)
            case "swapped", (place, peer, name):
                self.answer(self.asks[place], name, peer=peer)
            case "fail", (place,):
                ask = open_now[place]
                desk.send(AskFailed(ask.ask, ask.peer))
            case "answer all", (name,):
                for ask in open_now:
                    self.answer(ask, name)
            case "eight of twelve", (name,):
                desk.wait(POLL_MS // 10)
                self.eight_of_twelve(name)
            case "asked by", (number, name):
                assert self.asked_by(number) == name
            case "expect", (expected,):
                found = self.found()
                assert {key: found[key] for key in expected} == expected
            case _:
                raise AssertionError(f"no such step: {kind} {words}")

    def eight_of_twelve(self, name: str) -> None:
        """Two of six owners fail first, the others answer: with the own two slots, eight."""
        silent = self.desk.others()[:2]
        asks = self.desk.polls()
        for ask in [ask for ask in asks if ask.peer in silent]:
            self.desk.send(AskFailed(ask.ask, ask.peer))
        for ask in [ask for ask in asks if ask.peer not in silent]:
            self.answer(ask, name)

    def asked_by(self, number: int) -> str | None:
        peers = [*self.desk.others(), *[peer_key(number)] * 100]
        self.desk.send(PollReceived(5, peers[number], self.desk.standing.height))
        (reply,) = self.desk.of(Reply)
        kind, _, _, _, held = decode(reply.data, max_bytes=REPLY_BYTES_MAX)
        assert kind == "answer"
        return self.name(held)

    def found(self) -> dict[str, Any]:
        """The round in the words of the transcripts."""
        standing = self.desk.standing
        snowball, group = standing.snowball, standing.group
        polls = [] if group is None else group.polls
        weights = [
            " ".join(sorted([f"{self.name(v)}:{n}" for v, n in poll.weights.items()]))
            for poll in polls
        ]
        assert len({*weights}) <= 1, "all slots are drawn, so polls of a group are alike"
        outstanding = [poll.outstanding for poll in polls]
        return {
            "asks": len(self.desk.polls()),
            "open": len(polls),
            "weights": weights[0] if weights else None,
            "outstanding": outstanding[0] if outstanding else None,
            "settled": standing.settled,
            "value": self.name(standing.value),
            "fetches": len([e for e in self.desk.all if type(e) is Ask and e.proto == BLOCK]),
            "polls": snowball.polls if snowball else 0,
            "streak": snowball.streak if snowball else 0,
            "weakly": snowball.weakly if snowball else False,
            "preference": self.name(snowball.preference) if snowball else None,
        }


@pytest.mark.parametrize("kind", [Desk, RestartingDesk], ids=["uninterrupted", "restored"])
@pytest.mark.parametrize("case", ROUNDS, ids=called)
def test_a_round(case: Case, kind: type[Desk]) -> None:
    player = Player(kind, case.get("owners", 4))
    for number, (step, *words) in enumerate(case["steps"], 1):
        try:
            player.step(step, *words)
        except AssertionError as error:
            raise AssertionError(f"step {number}, {step} {words}: {error}") from error


def test_an_engine_restored_before_every_event_is_the_same_engine() -> None:
    """Byte for byte, after a whole round with failures, timeouts and two candidates."""
    steps: list[list[Any]] = [
        ["propose", 0],
        ["propose", 1],
        ["answer", 0, "unknown"],
        ["wait", 1100],
        ["wait for asks"],
        ["answer", 0, "p1"],
        ["fail", 0],
        ["wait", 400],
        ["wait for asks"],
        ["answer all", "p1"],
    ]
    found = []
    for kind in (Desk, RestartingDesk):
        player = Player(kind, 4)
        for step, *words in steps:
            player.step(step, *words)
        found.append((codec.to_bytes(player.desk.machine), player.desk.all))
    assert found[0] == found[1]
