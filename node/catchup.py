"""Learning what others decided: tips of peers, blocks by height with certificates (§10).

Pure: gives asks, takes answers, hands certified blocks to the engine in order. Knows no rule of
validity; the engine judges each certificate by the table that it knows.
"""

from dataclasses import dataclass, field

from consensus.effects import BLOCK, TIP, Ask
from consensus.encoding import encode
from consensus.events import Fetched
from consensus.ids import Now, Peer

WINDOW = 16  # heights asked for ahead
PER_PEER = 4  # asks open at one peer
TRIALS_MAX = 4  # … and at all together that gave nothing yet, where others did
TIPS_MAX = 1_024
ASK_TIMEOUT_MS = 5_000
FAILURE_PAUSE_MS = 500  # a peer that failed is left alone for so long, doubled each time
FAILURES_MAX = 7  # doublings: 64 s
ALIVE_PAUSE_MS = 2_000  # … and no longer than this once it speaks: it may have been unreachable
STIR_MS = 2_000  # a height at which a peer speaks and that is not decided for so long: ask its tip


@dataclass(slots=True)
class CatchUp:
    """Which heights are missing here and who has them.

    Invariant: a height is asked for at one peer at a time, beside one that gave nothing yet, and
    kept until the engine took it.
    `certified`: blocks come with certificates. Where a chain makes none, they are what peers say,
    and the engine's own polls judge them (§3: probabilistic).
    """

    certified: bool = True
    tips: dict[Peer, int] = field(default_factory=dict)
    told: dict[Peer, int] = field(default_factory=dict)  # as tips, whatever was refused since
    asks: dict[int, tuple[Peer, int]] = field(default_factory=dict)
    kept: dict[int, Fetched] = field(default_factory=dict)
    paused: dict[Peer, int] = field(default_factory=dict)  # monotonic ms until
    failures: dict[Peer, int] = field(default_factory=dict)  # of linked peers, in a row
    tip_asks: dict[int, Peer] = field(default_factory=dict)
    tips_due: dict[Peer, int] = field(default_factory=dict)  # linked peers to ask, and not before
    stirred: dict[Peer, tuple[int, int]] = field(default_factory=dict)  # height, when to ask
    hinted_ms: int | None = None  # since when somebody works above the height we decide
    hint: int = 0
    hints: int = 0  # grows with each hint that was news
    turns: dict[Peer, int] = field(default_factory=dict)  # when each peer was asked last, or linked
    proven: dict[Peer, None] = field(default_factory=dict)  # gave something of use over this link
    turn: int = 0

    def record_tip(self, peer: Peer, height: int) -> None:
        """A peer says, or shows, that `height` is certified."""
        if peer not in self.tips and len(self.tips) >= TIPS_MAX:
            unlinked = next((each for each in self.tips if each not in self.failures), None)
            if unlinked is None:
                return
            self.forget(unlinked)  # owners come and go; what they said must not fill the table
        self.tips[peer] = max(height, self.tips.get(peer, 0))
        self.told[peer] = max(height, self.told.get(peer, 0))

    def record_tip_answer(self, peer: Peer, height: int) -> None:
        """The answer to an ask for a tip."""
        self.tips_due.pop(peer, None)
        for ask in [ask for ask, asked in self.tip_asks.items() if asked == peer]:
            del self.tip_asks[ask]
        self.record_tip(peer, height)

    def record_hint(self, peer: Peer, height: int, deciding: int, now: Now) -> None:
        """A peer votes or polls at `height`, so the one before is certified.

        It may be decided there while its votes do not reach us, and then nobody speaks any more.
        """
        if height >= deciding and peer in self.failures:
            if peer not in self.stirred:
                self.hints += 1
            before = self.stirred.get(peer, (height, now.monotonic_ms + STIR_MS))
            self.stirred[peer] = (max(height, before[0]), before[1])
        if height <= deciding:
            return
        self.hints += 1
        self.record_tip(peer, height - 1)
        if self.hinted_ms is None:
            self.hinted_ms = now.monotonic_ms
        self.hint = max(self.hint, height - 1)

    def forget(self, peer: Peer) -> None:
        """The link is down."""
        for table in (
            self.tips,
            self.told,
            self.paused,
            self.failures,
            self.tips_due,
            self.stirred,
            self.turns,
            self.proven,
        ):
            table.pop(peer, None)

    def record_answer(self, event: Fetched, now: Now) -> bool:
        """Take the answer to one of our asks; whether it is ours."""
        place = self.asks.pop(event.ask, None)
        if place is None:
            return False
        block, certificate = event.block, event.certificate
        if block is None or (certificate is None and self.certified):
            return True
        peer, height = place
        place_of = None if certificate is None else (certificate.height, certificate.block)
        if block.height == height and place_of in (None, (height, block.id)):
            self.kept.setdefault(height, event)
        else:
            self.record_refused(peer, height, now)
        return True

    def record_failure(self, ask: int, now: Now) -> bool:
        """An ask of ours failed: its peer pauses and its tip is asked for again."""
        peer = self.tip_asks.pop(ask, None)
        if peer is not None:
            self._pause(peer, now)
        place = self.asks.pop(ask, None)
        if place is None:
            return False
        self.record_refused(*place, now)
        return True

    def record_refused(self, peer: Peer, height: int, now: Now) -> None:
        """A peer gave nothing of use for `height`."""
        if self.tips.get(peer, 0) >= height:
            self.tips[peer] = height - 1
        self._pause(peer, now)

    def record_alive(self, peer: Peer, now: Now) -> None:
        """A linked peer polled, or answered: whatever kept it from answering may be over."""
        soon = now.monotonic_ms + ALIVE_PAUSE_MS
        if peer not in self.failures or self.paused.get(peer, 0) <= soon:
            return
        self.hints += 1
        self.paused[peer] = soon
        if peer in self.tips_due:
            self.tips_due[peer] = min(soon, self.tips_due[peer])

    def record_used(self, peer: Peer) -> None:
        """The engine took what a peer gave."""
        if peer in self.failures:
            self.failures[peer] = 0
            self.proven[peer] = None

    def _pause(self, peer: Peer, now: Now) -> None:
        failures = self.failures.get(peer, 0)
        self.paused[peer] = now.monotonic_ms + (FAILURE_PAUSE_MS << failures)
        if peer in self.failures:  # linked: ask for its tip again then
            self.failures[peer] = min(failures + 1, FAILURES_MAX)
            self.tips_due[peer] = self.paused[peer]

    def link(self, peer: Peer, now: Now) -> None:
        """A link is up: its peer's tip is to be asked for, until it answers."""
        self.failures[peer] = 0
        self.tips_due[peer] = now.monotonic_ms
        self.turns[peer] = self.turn  # a new link brings no earlier turn

    def tips_wanted(self, now: Now) -> list[Peer]:
        """Peers whose tip is to be asked for now."""
        due = [peer for peer, at in self.tips_due.items() if at <= now.monotonic_ms]
        for peer, (height, at) in self.stirred.items():
            if at <= now.monotonic_ms and peer not in due:
                due.append(peer)
                self.stirred[peer] = (height, now.monotonic_ms + STIR_MS)
        asked = list(self.tip_asks.values())
        return [peer for peer in due if peer not in asked]

    def enter(self, deciding: int) -> None:
        """A height was decided here: what is at or below it is of no use."""
        for height in [height for height in self.kept if height < deciding]:
            del self.kept[height]
        for peer in [peer for peer, (height, _) in self.stirred.items() if height < deciding]:
            del self.stirred[peer]
        if self.hint < deciding:
            self.hinted_ms = None

    def behind(self, deciding: int, patience_ms: int, now: Now) -> int:
        """The highest height to ask for, 0 if there is no reason to.

        One height ahead is usual while votes are still under way: that waits for `patience_ms`.
        """
        best = max(self.tips.values(), default=0)
        if best < deciding:
            return 0
        if best == deciding and self.hinted_ms is not None:
            return best if now.monotonic_ms >= self.hinted_ms + patience_ms else 0
        return best

    def wake_ms(self, deciding: int, patience_ms: int) -> list[int]:
        """Times at which there may be a reason to ask."""
        times = [*self.tips_due.values(), *(at for _, at in self.stirred.values())]
        if max(self.tips.values(), default=0) < deciding:
            return times
        times += self.paused.values()
        return times if self.hinted_ms is None else [*times, self.hinted_ms + patience_ms]

    def wanted(self, deciding: int, best: int, now: Now) -> list[tuple[Peer, int]]:
        """(peer, height) to ask for now.

        Keys are free, and so are links: where somebody gives blocks, those who gave none yet are
        tried at a few heights, which are asked of the others all the same.
        """
        asked: dict[int, bool] = {}  # height: at somebody who is proven
        load: dict[Peer, int] = {}
        for peer, height in self.asks.values():
            load[peer] = load.get(peer, 0) + 1
            asked[height] = asked.get(height, False) or peer in self.proven
        wanted = []
        for height in range(deciding, min(best, deciding + WINDOW - 1) + 1):
            if height in self.kept or asked.get(height, False):
                continue
            source = self._source(height, load, now)
            if source is None:
                break
            if height in asked and source not in self.proven:
                continue
            load[source] = load.get(source, 0) + 1
            wanted.append((source, height))
        return wanted

    def _source(self, height: int, load: dict[Peer, int], now: Now) -> Peer | None:
        able = [
            peer
            for peer, tip in self.tips.items()
            if tip >= height
            and load.get(peer, 0) < PER_PEER
            and self.paused.get(peer, 0) <= now.monotonic_ms
        ]
        trials = sum([count for peer, count in load.items() if peer not in self.proven])
        if self.proven and trials >= TRIALS_MAX:
            able = [peer for peer in able if peer in self.proven]
        # Least asked lately: an order that a key could be ground for would have one peer serve all.
        return min(
            able,
            key=lambda peer: (peer not in self.proven, load.get(peer, 0), self.turns.get(peer, 0)),
            default=None,
        )

    def open(self, ask: int, peer: Peer, height: int, now: Now) -> Ask:
        """The ask for a certified block by height."""
        self.asks[ask] = (peer, height)
        self.turn += 1
        self.turns[peer] = self.turn
        data = encode(["block", 1, height, None])
        return Ask(ask, peer, BLOCK, data, now.monotonic_ms + ASK_TIMEOUT_MS)

    def open_tip(self, ask: int, peer: Peer, now: Now) -> Ask:
        """The ask for a peer's newest certified height."""
        self.tip_asks[ask] = peer
        return Ask(ask, peer, TIP, encode(["tip", 1]), now.monotonic_ms + ASK_TIMEOUT_MS)
