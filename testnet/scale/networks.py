"""Which network is to decide: sizes, thresholds, adversary, and how people write them.

Knows no arrays, so that a wrong option is told without the extra `research`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from consensus.parameters import Parameters, effective
from node.errors import ConfigError
from testnet.scale.chances import Draw

NODES_MAX = 20_000_000  # some 40 bytes each
VALUES_MAX = 8
ROUNDS_MAX = 1_500  # by default; a network that needs more has stalled
SHARE_STEP = Fraction(1, 20)  # of a range of shares
NODES_STEP = 10  # of a range of sizes
NETWORKS_MAX = 1_000  # in one command


class Kind(StrEnum):
    """What the adversary's slots answer."""

    MUTE = "mute"  # nothing, ever
    BALANCING = "balancing"  # the value that the fewest honest slots answer with
    SPLIT = "split"  # each asker the value that it started with
    ECHO = "echo"  # each asker what it prefers at that moment


@dataclass(frozen=True, slots=True)
class Adversary:
    """A kind, and the share of all slots that it owns."""

    kind: Kind = Kind.MUTE
    share: Fraction = Fraction(0)

    def slots(self, nodes: int) -> int:
        return int(nodes * self.share)

    def __str__(self) -> str:
        return f"{self.kind}:{float(self.share):g}" if self.share else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network and its rule; numbers by the names of protocol §3. Raises ConfigError.

    `nodes` counts the adversary's; each owns one slot. `start`: percent of the honest nodes that
    start with each value. `weakly`: whether weak settling counts (protocol §6). `memory`: whether
    the preference is the value with the greatest count, as protocol §6 has it (Snowball), or simply
    the last one that led a poll (Snowflake).
    """

    nodes: int
    k: int
    alpha_preference: int
    alpha_confidence: int
    beta: int
    concurrent_polls: int = 1
    weakly: bool = True
    memory: bool = True
    start: tuple[int, ...] = (50, 50)
    adversary: Adversary = Adversary()
    rounds_max: int = ROUNDS_MAX

    def __post_init__(self) -> None:
        failing = [text for text, holds in self._claims() if not holds]
        if failing:
            raise ConfigError("does not hold: " + "; ".join(failing))

    def _claims(self) -> Iterator[tuple[str, bool]]:
        alphas = self.alpha_preference <= self.alpha_confidence <= self.k
        yield f"1 ≤ nodes ≤ {NODES_MAX:,}", 1 <= self.nodes <= NODES_MAX
        yield "k/2 < alpha_preference", self.k < 2 * self.alpha_preference
        yield "alpha_preference ≤ alpha_confidence ≤ k", alphas
        yield "0 < concurrent_polls ≤ beta", 0 < self.concurrent_polls <= self.beta
        yield f"start has 1 to {VALUES_MAX} values", 1 <= len(self.start) <= VALUES_MAX
        yield "start adds up to 100", sum(self.start) == 100 and min(self.start) >= 0
        yield "0 ≤ share of the adversary < 1", 0 <= self.adversary.share < 1
        yield "1 ≤ rounds_max", self.rounds_max >= 1

    @classmethod
    def of_chain(cls, parameters: Parameters, **others: Any) -> "Network":
        """A network that decides as a chain with these parameters does."""
        names = ("k", "alpha_preference", "alpha_confidence", "beta", "concurrent_polls")
        return cls(**{name: getattr(parameters, name) for name in names} | others)

    @property
    def draw(self) -> Draw:
        """k and the alphas as they are where fewer than k slots are occupied (protocol §3)."""
        drawn, preference = effective(self.k, self.alpha_preference, self.nodes)
        _, confidence = effective(self.k, self.alpha_confidence, self.nodes)
        return Draw(self.nodes, drawn, preference, confidence)

    @property
    def hostile(self) -> int:
        """Slots of the adversary."""
        return self.adversary.slots(self.nodes)

    @property
    def honest(self) -> int:
        return self.nodes - self.hostile


# ---- as people write them ---------------------------------------------------------------------


class Unreadable(ValueError):
    """A size or an adversary that is not written as it should be; `str()` says how it should."""


def read_nodes(text: str) -> tuple[int, ...]:
    """`1000`, `1000,5000` or `1000..1000000` (times ten each). Raises Unreadable."""
    sizes: list[int] = []
    for part in text.split(","):
        low, dots, high = part.partition("..")
        ends = (low, high if dots else low)
        digits = len(str(NODES_MAX))
        written = all(e.isascii() and e.isdigit() and len(e) <= digits for e in ends)
        size, last = (int(end) for end in ends) if written else (0, 0)
        if not 1 <= size <= last <= NODES_MAX:
            raise Unreadable(f"{part!r} is not a size or a rising range up to {NODES_MAX}")
        while size <= last:
            sizes.append(size)
            size *= NODES_STEP
    return tuple(sizes)


def read_adversaries(text: str) -> tuple[Adversary, ...]:
    """`none`, `mute:0.1`, `mute:0.1,0.2` or `mute:0..0.3` (steps of 0.05). Raises Unreadable."""
    if text == "none":
        return (Adversary(),)
    name, colon, shares = text.partition(":")
    kinds = ", ".join(Kind)
    if name not in list(Kind) or not colon:
        raise Unreadable(f"{text!r} is not KIND:SHARE with a kind of {kinds}")
    found: list[Adversary] = []
    for part in shares.split(","):
        low, dots, high = part.partition("..")
        share, last = _share(low), _share(high if dots else low)
        while share <= last:
            found.append(Adversary(Kind(name), share) if share else Adversary())
            share += SHARE_STEP
    if not found:
        raise Unreadable(f"{text!r} names no share")
    return tuple(found)


# Digits are bounded: exact arithmetic with 1e-99999999 would never end.
_SHARE = re.compile(r"\d{1,9}(\.\d{0,12})?|\.\d{1,12}|\d{1,9}/\d{1,9}", re.ASCII)


def _share(text: str) -> Fraction:
    try:
        share = Fraction(text if _SHARE.fullmatch(text) else "")
    except (ValueError, ZeroDivisionError):
        raise Unreadable(f"{text!r} is not a share from 0 to 1") from None
    if not 0 <= share < 1:
        raise Unreadable(f"{text!r} is not a share from 0 to 1")
    return share
