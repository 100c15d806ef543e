"""Simulated time: a heap of things to come, decided by one seed; and lanes, where one thing is done
after the other. Knows nothing of chains."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush

from consensus.dice import Dice
from consensus.ids import Now

STEPS_MAX = 50_000_000  # things that one run may do; more means that it does not come to rest
CLOCK_START_MS = 1_700_000_000_000
MONOTONIC_START_MS = 1_000
_WORD = (1 << 64) - 1
_STEP, _ADD, _TAKEN = 6364136223846793005, 1442695040888963407, 31  # Knuth's MMIX, upper bits


class Chance:
    """Cheap throws for weather, whose shares need not be exact: one multiplication each.

    What a node itself throws (polls, say) comes from the dice of consensus.
    """

    __slots__ = ("_state",)

    def __init__(self, dice: Dice) -> None:
        self._state = dice.uint(1 << 64)

    def below(self, bound: int) -> int:
        """A whole number in [0, bound), bound ≤ 2^31."""
        state = self._state = (self._state * _STEP + _ADD) & _WORD
        return ((state >> (64 - _TAKEN)) * bound) >> _TAKEN

    def happens(self, percent: int) -> bool:
        return percent > 0 and self.below(100) < percent


class Simulator:
    """Runs callbacks in order of their time; equal times in order of their making."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.now_ms = 0
        self.steps = 0
        self._made = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Run `action` in `delay_ms` of simulated time."""
        self._made += 1
        heappush(self._heap, (self.now_ms + max(0, delay_ms), self._made, action))

    def run(self, until_ms: int, done: Callable[[], bool] = lambda: False) -> bool:
        """Run until `done()`, or that time; whether it was done."""
        while self._heap and self._heap[0][0] <= until_ms:
            if done():
                return True
            self.steps += 1
            assert self.steps <= STEPS_MAX, "the simulation does not come to rest"
            self.now_ms, _, action = heappop(self._heap)
            action()
        self.now_ms = max(self.now_ms, until_ms) if not done() else self.now_ms
        return done()

    def now(self, skew_ms: int = 0) -> Now:
        """The two clocks of a node whose wall clock is off by `skew_ms`."""
        return Now(self.now_ms + MONOTONIC_START_MS, CLOCK_START_MS + self.now_ms + skew_ms)


class Lane:
    """Jobs one after the other, as on one thread: each takes its time, then its work is done.

    `later(delay_ms, action)` is the owner's: what it schedules is void when the owner dies, and so
    is this lane, of which a new life makes a new one.
    """

    __slots__ = ("_begun", "_closed", "_jobs", "_later")

    def __init__(self, later: Callable[[int, Callable[[], None]], None]) -> None:
        self._later = later
        self._jobs: deque[tuple[Callable[[], int], Callable[[], None] | None]] = deque()
        self._begun = self._closed = False

    def order(self, takes: Callable[[], int], work: Callable[[], None]) -> None:
        """`takes()` is asked when its turn comes: the time until `work()`."""
        self._jobs.append((takes, work))
        self._begin()

    def hold(self, begun: Callable[[], None]) -> None:
        """A job that goes on until `release`; `begun()` runs when its turn comes."""

        def takes() -> int:
            begun()
            return 0

        self._jobs.append((takes, None))
        self._begin()

    def release(self) -> None:
        """The job that holds the lane is done."""
        self._begun = False
        self._begin()

    def close(self) -> None:
        """The owner is dead: nothing of this is done any more."""
        self._closed = True

    def _begin(self) -> None:
        if self._begun or self._closed or not self._jobs:
            return
        self._begun = True
        takes, work = self._jobs[0]
        if work is None:
            self._jobs.popleft()
            takes()
            return

        def finish() -> None:
            self._jobs.popleft()
            self._begun = False
            work()
            self._begin()

        self._later(takes(), finish)
