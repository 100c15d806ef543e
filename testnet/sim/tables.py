"""Tables of the simulator: what mute and balancing slots cost, and whether slots follow hashes.

Each function runs whole clusters from a seed and gives rows; the same arguments, the same rows.
Knows neither files nor plots.
"""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Final, NamedTuple

from consensus.dice import Dice
from consensus.ids import Peer
from consensus.parameters import Parameters
from consensus.transition import best_claims
from testnet.sim.adversaries import NAMES
from testnet.sim.adversaries.mouth import Adversary
from testnet.sim.cluster import Cluster, Weather, small_parameters
from testnet.sim.host import Host

NODES: Final = 10  # each owns a tenth of the slots, so shares of slots are whole nodes
SECOND_MS: Final = 1_000
MINUTE_S: Final = 60
STEP_S: Final = 0.5
LONG_EPOCHS: Final = 4_096
PERCENT: Final = 100
SIGMAS: Final = 3

# ---- one cluster under load ---------------------------------------------------------------------


class Course:
    """A cluster with adversaries, always due: a new message as soon as a height is held by all."""

    def __init__(
        self,
        villains: Sequence[str],
        *,
        nodes: int,
        seed: int,
        parameters: Parameters | None = None,
        weather: Weather | None = None,
    ) -> None:
        """`villains`: one name each for the first hosts, turned by the seed."""
        self.cluster = Cluster(
            nodes=nodes,
            seed=seed,
            parameters=parameters or small_parameters(epoch_blocks=LONG_EPOCHS),
            weather=weather or Weather(jitter_ms=15),
        )
        hosts = list(self.cluster.hosts.values())
        dice = Dice(seed.to_bytes(32, "big")).child("course")
        self.villains: list[Adversary] = []
        for place, name in enumerate(villains):
            host, own = hosts[(seed + place) % nodes], dice.child(f"villain {place}")
            self.villains.append(NAMES[name](self.cluster, host, own))
        self.honest = [host for host in hosts if host.peer not in self.cluster.liars]
        self.sent = 0

    @property
    def height(self) -> int:
        """Held by all honest."""
        return min(len(host.disk.chain) for host in self.honest)

    def step(self) -> None:
        """One message to one honest host; until the next height is held by all, at most STEP_S."""
        before = self.height
        self.sent += 1
        host = self.honest[self.sent % len(self.honest)]
        self.cluster.submit(host, self.cluster.transfer(self.sent % 4, 0, self.sent))
        self.cluster.run(STEP_S, lambda: self.height > before)

    def run(self, done: Callable[[], bool]) -> None:
        while not done():
            self.step()

    def rounds(self) -> list[int]:
        """The round of each certificate."""
        return [certificate.round for _, certificate, _ in self.honest[0].disk.chain]


# ---- mute slots ---------------------------------------------------------------------------------


class MuteRow(NamedTuple):
    """`percent` of the slots are mute; blocks in a simulated minute; heights by round."""

    percent: int
    blocks_per_minute: int
    rounds: tuple[int, ...]


def mute_table(
    *, percents: Sequence[int] = (0, 10, 20, 30), seconds: int = 60, seed: int = 1
) -> list[MuteRow]:
    """Blocks a simulated minute with so many slots mute, under constant load.

    `percents`: multiples of a tenth, below a third. `seconds`: simulated, of each.
    """
    rows = []
    for percent in percents:
        count = percent * NODES // PERCENT
        course = Course(["mute"] * count, nodes=NODES, seed=seed)
        course.cluster.start()
        end = course.cluster.simulator.now_ms + seconds * SECOND_MS
        course.run(lambda: course.cluster.simulator.now_ms >= end)  # noqa: B023
        rounds = _counted(course.rounds())
        rows.append(MuteRow(percent, course.height * MINUTE_S // seconds, rounds))
    return rows


def _counted(rounds: Sequence[int]) -> tuple[int, ...]:
    """How many heights were decided in round 0, 1, …"""
    return tuple([rounds.count(round_) for round_ in range(max(rounds, default=0) + 1)])


# ---- balancing slots ----------------------------------------------------------------------------


class BalancingRow(NamedTuple):
    """`attack`: who acts. Of the heights decided: by round, and the simulated ms of one."""

    attack: str
    heights: int
    rounds: tuple[int, ...]
    ms_per_height: int
    acts: int


Attack = tuple[str, tuple[str, ...]]  # how it is called, who acts
ATTACKS: Final[tuple[Attack, ...]] = (
    ("nobody", ()),
    ("split proposals", ("split_proposals",)),
    ("20 % balancing", ("balancing", "balancing")),
    ("20 % balancing, split proposals", ("balancing", "balancing", "split_proposals")),
    ("10 % two blocks, 20 % balancing", ("two_blocks", "balancing", "balancing")),
    ("30 % echoing", ("echoing", "echoing", "echoing")),
)


def balancing_table(
    *, heights: int = 40, seed: int = 1, attacks: Sequence[Attack] = ATTACKS
) -> list[BalancingRow]:
    """Rounds per height with 20 % of the slots balancing, alone and with what they feed on."""
    rows = []
    for attack, villains in attacks:
        course = Course(villains, nodes=NODES, seed=seed)
        course.cluster.start()
        course.run(lambda: course.height >= heights)  # noqa: B023
        rows.append(
            BalancingRow(
                attack,
                course.height,
                _counted(course.rounds()),
                course.cluster.simulator.now_ms // course.height,
                sum(villain.lies for villain in course.villains),
            )
        )
    return rows


# ---- the hill under contention ------------------------------------------------------------------


class HillRow(NamedTuple):
    """A miner: its share of hashes, of the claims that were best at an epoch's end, of slots.

    `claims_sigmas`, `slots_sigmas`: how far each is from the share of hashes, in σ of as many
    independent throws as there were best claims, and as there are slots.
    """

    hashes_percent: int
    claims_won: int
    claims_share: float
    claims_sigmas: float
    slots: int
    slots_share: float
    slots_sigmas: float


class HillTable(NamedTuple):
    """`heights` decided, all of them; `late`: those that needed more than round 0."""

    rows: tuple[HillRow, ...]
    epochs: int
    heights: int
    late: int
    changes: int  # of owners

    @property
    def holds(self) -> bool:
        """Whether all shares are within 3 σ of the hashes'."""
        return all(
            abs(row.claims_sigmas) <= SIGMAS and abs(row.slots_sigmas) <= SIGMAS
            for row in self.rows
        )


HILL_SLOTS: Final = 180
HILL_NONCES: Final = 800  # of all miners, an epoch
HILL_BITS: Final = 4


def hill_table(
    *, percents: Sequence[int] = (50, 30, 20), epochs: int = 24, seed: int = 1
) -> HillTable:
    """Miners with so many percent of the hashes over many epochs; slots are dealt evenly first."""
    parameters = small_parameters(
        slots=HILL_SLOTS,
        turnover_max=HILL_SLOTS // 4,
        difficulty_bits_min=HILL_BITS,
    )
    course = Course((), nodes=len(percents), seed=seed, parameters=parameters)
    hosts = course.honest
    for host, percent in zip(hosts, percents, strict=True):
        host.hill.nonces = HILL_NONCES * percent // PERCENT
    course.cluster.start()
    won = dict.fromkeys([host.peer for host in hosts], 0)
    owners, changes = list(course.cluster.spec.genesis_table().owners), 0
    for epoch in range(epochs):
        end = parameters.last_height(epoch)
        course.run(lambda: course.height >= end - 1)  # noqa: B023
        for peer in _best(hosts):
            won[peer] += 1
        course.run(lambda: course.height >= end)  # noqa: B023
        now = list(_table_owners(hosts[0]))
        changes += sum(a != b for a, b in zip(owners, now, strict=True))
        owners = now
    rows = tuple(
        _hill_row(percent, won[host.peer], sum(won.values()), owners.count(host.peer), owners)
        for host, percent in zip(hosts, percents, strict=True)
    )
    late = sum(round_ > 0 for round_ in course.rounds())
    return HillTable(rows, epochs, course.height, late, changes)


def _best(hosts: Sequence[Host]) -> list[Peer]:
    """Whose claims are best now, one for each slot that is claimed, at the highest host."""
    lines = [host.line for host in hosts if host.line is not None]
    tip = max(lines, key=lambda line: line.tip.header.fields.height).tip
    return [bid.peer for bid in best_claims(hosts[0].spec, tip.state).values()]


def _table_owners(host: Host) -> Sequence[Peer | None]:
    assert host.line is not None, "nobody is down here"
    return host.line.tip.view.table.owners


def _hill_row(
    percent: int, won: int, won_by_all: int, slots: int, owners: Sequence[Peer | None]
) -> HillRow:
    share = percent / PERCENT
    occupied = sum(owner is not None for owner in owners)

    def sigmas(found: int, throws: int) -> float:
        return (found - throws * share) / sqrt(throws * share * (1 - share))

    return HillRow(
        hashes_percent=percent,
        claims_won=won,
        claims_share=won / won_by_all,
        claims_sigmas=sigmas(won, won_by_all),
        slots=slots,
        slots_share=slots / occupied,
        slots_sigmas=sigmas(slots, occupied),
    )
