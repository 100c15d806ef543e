"""The closed set of ways in which a chain decides, as data (protocol §3: `consensus`).

The engine and the rules ask a `Kind` what applies; nothing below names a kind. A new way is a row
here, and the rules that it turns off or on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SNOWBALL, SOLO, PROBABILISTIC = "snowball", "solo", "probabilistic"


@dataclass(frozen=True, slots=True)
class Kind:
    """What of the protocol applies.

    `polls`: owners ask each other (§6); without, the starting preference is settled on at once.
    `votes`: confirm, accept, rounds, certificates (§7); without, what is settled is decided, round
    0 is the only one, nothing is proven to anybody who did not poll, and a renewal is the proof of
    life. `yields`: Snowball gives way to the certificate's liveness (§6: weak settling, settling by
    time). `hill`: slots are won by work (§4); without, the owners of the genesis stay.
    `owners_max`: null is no bound. `beta_min`: the least number of polls in a row.
    """

    name: str
    polls: bool
    votes: bool
    yields: bool
    hill: bool
    owners_max: int | None
    beta_min: int


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(SNOWBALL, polls=True, votes=True, yields=True, hill=True, owners_max=None, beta_min=1),
        Kind(SOLO, polls=False, votes=True, yields=True, hill=False, owners_max=1, beta_min=1),
        Kind(
            PROBABILISTIC,
            polls=True,
            votes=False,
            yields=False,
            hill=True,
            owners_max=None,
            beta_min=30,
        ),
    )
}
