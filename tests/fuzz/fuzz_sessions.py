"""Targets of books that strangers write into: a session of the fabric, the router of gossip.

Sequences drawn from bytes, one byte a choice; after each step the books are counted anew.
"""

from collections.abc import Iterable
from random import Random

from network.gossip import Router, gossip_id
from network.limits import (
    ANNOUNCE_IDS_MAX,
    ANNOUNCE_QUEUE_MAX,
    HELD_ITEMS_MAX,
    PULLS_OPEN_MAX,
    PULLS_PER_LINK_MAX,
)
from network.ports import Class
from network.seen import Sighting
from perper_core.errors import Exhausted, Invalid
from perper_core.wire import frames as f
from perper_core.wire.limits import COMMANDS_OPEN_MAX, PARTS_BYTES_MAX
from perper_core.wire.session import Admission, Outbox, Parts, ReplyBook, Window, weight
from tests.fuzz.fuzz_events import Draws
from tests.fuzz.fuzz_target import Target

NONCES = 12
SIZES = [0, 1, 60, 70_000, PARTS_BYTES_MAX // 3]
STEPS_S = [0.0, 0.05, 0.3, 5.0, 60.0, 300.0]
PEERS = [bytes((number,)) * 32 for number in range(7)]
TOPICS = ["apx/b/votes", "apx/b/messages"]
FRAMES = [bytes((number,)) * size for number, size in enumerate((40, 40, 3_000, 20_000, 200_000))]


# ---- a session of the fabric --------------------------------------------------------------------


class _Session:
    """The server's side, against a plain account of what was said."""

    def __init__(self, raw: bytes) -> None:
        self.draws = Draws(raw)
        self.book, self.parts, self.outbox = ReplyBook(), Parts(), Outbox()
        self.state: dict[int, str] = {}  # by nonce: running, answered
        self.opened = 0
        self.window = Window(100, self._opened)
        self.waiting: dict[int, list[bytes]] = {}

    def _opened(self) -> None:
        self.opened += 1

    def run(self) -> None:
        steps = [self._admit, self._settle, self._confirm, self._append, self._append, self._frame]
        steps += [self._grant, self._keep, self._lost]
        while self.draws.left:
            self.draws.of(steps)()
            assert len(self.book) == len(self.state) <= COMMANDS_OPEN_MAX
            held = sum(weight(items) for items in self.waiting.values())
            assert held <= self.parts._bytes <= PARTS_BYTES_MAX
            assert self.waiting or not self.parts._bytes, "bytes of nothing"

    def _nonce(self) -> int:
        return 1 + self.draws.below(NONCES)

    def _admit(self) -> None:
        nonce = self._nonce()
        known = {"running": Admission.RUNNING, "answered": Admission.ANSWERED}
        assert self.book.admit(nonce) is known.get(self.state.get(nonce, ""), Admission.NEW)
        self.state.setdefault(nonce, "running")

    def _settle(self) -> None:
        nonce, raw = self._nonce(), self.draws.of([b"reply", None])
        self.book.settle(nonce, raw)
        if raw is None:
            self.state.pop(nonce, None)
        elif nonce in self.state:
            self.state[nonce] = "answered"
            assert self.book.reply(nonce) == raw

    def _confirm(self) -> None:
        nonces = [self._nonce() for _ in range(self.draws.below(4))]
        self.book.confirm(nonces)
        self._forget(nonces)

    def _keep(self) -> None:
        wanted = [self._nonce() for _ in range(self.draws.below(4))]
        self.book.keep(wanted)
        self._forget([nonce for nonce in self.state if nonce not in wanted])

    def _forget(self, nonces: list[int]) -> None:
        for nonce in nonces:
            if self.state.get(nonce) == "answered":
                del self.state[nonce]

    def _append(self) -> None:
        nonce, more = self._nonce(), bool(self.draws.below(3))
        items = [bytes(self.draws.of(SIZES)) for _ in range(self.draws.below(4))]
        op = f.Append("stream", items, [], [], None, None, None, False, more)
        before = self.waiting.get(nonce, [])
        try:
            whole = self.parts.add(nonce, op)
        except Exhausted:
            self.waiting.pop(nonce, None)
            return
        if more:
            assert whole is None
            self.waiting[nonce] = [*before, *items]
        else:
            assert whole is not None and list(whole.items) == [*before, *items]
            self.waiting.pop(nonce, None)

    def _lost(self) -> None:
        if self.draws.below(8) == 1:
            assert sorted(self.parts.clear()) == sorted(self.waiting)
            self.waiting.clear()
            self.outbox.clear()

    def _frame(self) -> None:
        for _ in range(self.draws.below(4)):
            self.outbox.add(bytes(self.draws.of(SIZES[:4])), 1 + self.draws.below(3))
        if self.draws.below(2):
            assert bool(len(self.outbox)) == bool(self.outbox.next_frame())
        assert (self.outbox.bytes > 0) <= (len(self.outbox) > 0)

    def _grant(self) -> None:
        self.window.spend(self.draws.below(200))
        room, opened = self.window.room, self.opened
        cost = self.draws.of([0, 1, 100, 250])
        try:
            self.window.grant(cost)
        except Invalid:
            assert cost == 0
            return
        assert self.opened - opened == int(room <= 0 < room + cost)


# ---- gossip -------------------------------------------------------------------------------------


class _Gossip:
    """A router between a few peers that come, go, repeat themselves and ask for anything."""

    def __init__(self, raw: bytes) -> None:
        self.draws, self.now = Draws(raw), 0.0
        dice = Random(7)
        self.router = Router(bytes(32), dice.randrange, self.now)

    def run(self) -> None:
        steps = [self._link, self._topics, self._publish, self._arrived, self._arrived]
        steps += [self._announced, self._pulled, self._beat]
        while self.draws.left:
            self.draws.of(steps)()
            self._count()

    def _count(self) -> None:
        router = self.router
        held = [each.frame for each in router._held.values() if each.frame is not None]
        assert router._held_bytes == sum(map(len, held)), "bytes of nothing"
        assert len(router._held) <= HELD_ITEMS_MAX
        assert len(router._pulls) <= PULLS_OPEN_MAX
        for link in router._links.values():
            assert len(link.announce) <= ANNOUNCE_QUEUE_MAX
            assert 0 <= link.pulls <= PULLS_PER_LINK_MAX

    def _peer(self) -> bytes:
        return bytes(self.draws.of(PEERS))

    def _frame(self) -> tuple[bytes, bytes]:
        frame = bytes(self.draws.of(FRAMES))
        return gossip_id(frame), frame

    def _link(self) -> None:
        peer = self._peer()
        if self.draws.below(4):
            self.router.link_up(peer, bool(self.draws.below(2)))
            self.router.set_topics(peer, TOPICS)
        else:
            self.router.link_down(peer)

    def _topics(self) -> None:
        self.router.set_topics(self._peer(), TOPICS[: self.draws.below(3)])

    def _publish(self) -> None:
        id, frame = self._frame()
        cls = self.draws.of([Class.VOTE, Class.MESSAGE])
        sent = self.router.publish(id, TOPICS[0], cls, frame, frame[:1], self.now)
        assert all(peer in self.router._links for peer in sent)

    def _arrived(self) -> None:
        peer, (id, frame) = self._peer(), self._frame()
        seen = self.router.arrived(peer, id, self.draws.of(TOPICS), Class.MESSAGE, self.now)
        if seen is not Sighting.NEW:
            return
        which = self.draws.below(4)
        if which == 0:
            self.router.ignored(id)
        elif which == 1:
            self.router.rejected(id)
        elif which == 2:
            sent = self.router.accepted(id, frame, self.draws.of([None, b"key"]), self.now)
            assert peer not in sent
            assert all(each in self.router._links for each in sent)

    def _announced(self) -> None:
        ids = [gossip_id(bytes((self.draws.below(256),))) for _ in range(self.draws.below(9))]
        ids += [self._frame()[0]]
        pulled = self.router.announced(self._peer(), ids, self.now)
        assert set(pulled) <= set(ids)

    def _pulled(self) -> None:
        found = self.router.pulled(self._peer(), self._frame()[0])
        assert found is None or found.frame is not None

    def _beat(self) -> None:
        self.now += float(self.draws.of(STEPS_S))
        beat = self.router.beat(self.now)
        for peer, ids in beat.announces:
            assert peer in self.router._links
            assert 0 < len(ids) <= ANNOUNCE_IDS_MAX
        for peer, id in beat.pulls:
            assert peer in self.router._links and id in self.router._pulls


def _sequences() -> Iterable[bytes]:
    random = Random(9)
    for size in (60, 200, 400):
        yield random.randbytes(size)


def _sequence(random: Random) -> bytes:
    return random.randbytes(random.randint(20, 600))


SEQUENCE_SLOW_S = 5.0  # a bomb is a sequence of 50,000 moves here

TARGETS = [
    Target(
        "wire_session",
        lambda raw: _Session(raw).run(),
        (),
        _sequences,
        fresh=_sequence,
        burst=30,
        slow_s=SEQUENCE_SLOW_S,
    ),
    Target("net_gossip", lambda raw: _Gossip(raw).run(), (), _sequences, fresh=_sequence, burst=30),
]
