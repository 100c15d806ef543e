"""Simulated time: a heap of things to come, decided by one seed. Knows nothing of chains."""

from collections.abc import Callable
from heapq import heappop, heappush

from consensus.dice import Dice
from consensus.ids import Now

STEPS_MAX = 5_000_000  # things that one run may do; more means that it does not come to rest
CLOCK_START_MS = 1_700_000_000_000


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
        return Now(self.now_ms + 1_000, CLOCK_START_MS + self.now_ms + skew_ms)
