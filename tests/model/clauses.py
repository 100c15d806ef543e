"""The clauses of protocol §7 that carry agreement, each one a switch, and what weakens them.

`Clauses()` is the protocol. Every other value of a field is one defect, named by what it does.
Knows nothing of states: `rules` reads the switches.
"""

from dataclasses import dataclass
from typing import Literal

Quorum = Literal["3w > 2n", "3w >= 2n", "3(w + 1) > 2n", "2w > n"]
Tally = Literal["one round", "this and earlier rounds", "this and the last round"]
Unlock = Literal[
    "quorum from the lock's round on",  # the protocol
    "quorum from the round before the lock's on",
    "quorum of any round",
    "any third of confirms",
    "always",
    "never",
]
Relock = Literal["newest accept", "first accept", "never"]
Release = Literal["never", "on a later round", "two rounds later"]
Restart = Literal["whole record", "record without lock", "lock without place", "nothing"]
Places = Literal[
    "after the newest", "the newest again", "any phase of the newest round", "anywhere"
]
Proof = Literal[
    "quorum of this round's confirms",
    "quorum of any earlier round's confirms",
    "a third of this round's confirms",
    "own confirm",
    "none",
]


@dataclass(frozen=True, slots=True)
class Clauses:
    """Which rules a slot keeps. Fields name the function of `consensus/` that they mirror."""

    quorum: Quorum = "3w > 2n"  # votes.Votes.is_quorum, certificates.check_weight
    confirm_tally: Tally = "one round"  # votes.Tally: confirms by (round, phase)
    accept_tally: Tally = "one round"  # votes.Tally: accepts; Votes.accepted
    own_twice: bool = False  # votes.Votes.add: one vote per signer
    unlock: Unlock = "quorum from the lock's round on"  # voting.lock_allows
    relock: Relock = "newest accept"  # signing.SignRecord.with_lock in voting.accept_confirmed
    release: Release = "never"  # signing.SignRecord.lock_at
    restart: Restart = "whole record"  # signing.SignRecord.raw, Engine(record=…)
    late_record: bool = False  # effects.Sign: the record is durable before the signature
    places: Places = "after the newest"  # signing.SignRecord.allows
    proof: Proof = "quorum of this round's confirms"  # voting.advance_valid, accept_confirmed
    confirm_lock: bool = True  # voting.advance_confirm asks lock_allows


@dataclass(frozen=True, slots=True)
class Weakened:
    """One clause weakened, and the smallest cluster in which that shows.

    `violates` false: agreement still holds there, exhaustively; `why` says what carries it.
    """

    name: str
    clauses: Clauses
    slots: int = 4
    byzantine: int = 1
    rounds: int = 2
    dense: bool = False  # only runs without skipped confirms (`rules`): far fewer states
    seek: tuple[str, ...] = ("agreement",)
    violates: bool = True
    why: str = ""
    long: bool = False  # left out unless everything is asked for

    @property
    def values(self) -> int:
        return 2


WEAKENED: tuple[Weakened, ...] = (
    # ---- quorums and tallies -----------------------------------------------------------------
    Weakened("quorum 3w >= 2n, at exactly a third Byzantine", Clauses(quorum="3w >= 2n"), slots=3),
    Weakened("quorum one slot too small", Clauses(quorum="3(w + 1) > 2n"), rounds=1),
    Weakened("quorum 2w > n", Clauses(quorum="2w > n"), slots=5, rounds=1),
    Weakened("own slots counted twice", Clauses(own_twice=True), rounds=1),
    Weakened("two of four slots Byzantine", Clauses(), byzantine=2, rounds=1),
    Weakened(
        "confirms counted over this and the last round",
        Clauses(confirm_tally="this and the last round"),
        rounds=3,
        dense=True,
    ),
    Weakened(
        "confirms counted over all rounds",
        Clauses(confirm_tally="this and earlier rounds"),
        rounds=3,
        dense=True,
    ),
    Weakened(
        "accepts counted over all rounds",
        Clauses(accept_tally="this and earlier rounds"),
        rounds=4,
        dense=True,
    ),
    # ---- the lock ----------------------------------------------------------------------------
    Weakened("confirm while locked, without a newer quorum", Clauses(unlock="always")),
    Weakened("confirm does not ask for the lock", Clauses(confirm_lock=False)),
    Weakened(
        "unlocked by a quorum of any older round", Clauses(unlock="quorum of any round"), rounds=3
    ),
    Weakened(
        "unlocked by a quorum of the round before the lock's",
        Clauses(unlock="quorum from the round before the lock's on"),
        rounds=3,
    ),
    Weakened("unlocked by a third of the confirms", Clauses(unlock="any third of confirms")),
    Weakened("accept sets no lock", Clauses(relock="never")),
    Weakened("the lock stays with the first accept", Clauses(relock="first accept"), rounds=3),
    Weakened("lock released on entering the next round", Clauses(release="on a later round")),
    Weakened("lock released two rounds later", Clauses(release="two rounds later"), rounds=3),
    # ---- the sign record ---------------------------------------------------------------------
    Weakened("lock not in the sign record", Clauses(restart="record without lock")),
    Weakened(
        "lock not in the sign record: a lock is lost",
        Clauses(restart="record without lock"),
        seek=("no lock lost",),
    ),
    Weakened("place not in the sign record", Clauses(restart="lock without place")),
    Weakened("no durable sign record at all", Clauses(restart="nothing"), rounds=1),
    Weakened("signature leaves before the record is durable", Clauses(late_record=True), rounds=1),
    Weakened("two confirms in one round", Clauses(places="the newest again"), rounds=1),
    Weakened("votes in rounds that were left", Clauses(places="anywhere")),
    # ---- what an accept asks for -------------------------------------------------------------
    Weakened("accept without confirms, of anything", Clauses(proof="none"), rounds=2),
    Weakened(
        "accept with a third of the confirms", Clauses(proof="a third of this round's confirms")
    ),
    Weakened(
        "accept with a quorum of confirms of an earlier round",
        Clauses(proof="quorum of any earlier round's confirms"),
        rounds=3,
    ),
    # ---- what agreement does not need --------------------------------------------------------
    Weakened(
        "confirm after the accept of its round",
        Clauses(places="any phase of the newest round"),
        rounds=3,
        violates=False,
        why="one vote a place and the lock carry it",
    ),
    Weakened(
        "accept what oneself confirmed, without a quorum of confirms",
        Clauses(proof="own confirm"),
        rounds=3,
        dense=True,
        violates=False,
        why="a certificate's signers confirmed it, so the quorum was there",
    ),
    Weakened(
        "a lock never moves to a newer quorum",
        Clauses(unlock="never"),
        rounds=3,
        dense=True,
        violates=False,
        why="needed for liveness: see the healed rounds",
    ),
    Weakened(
        "quorum 3w >= 2n, below a third Byzantine",
        Clauses(quorum="3w >= 2n"),
        slots=6,
        violates=False,
        why="two such quorums share a third of the slots, more than are Byzantine",
    ),
    Weakened(
        "accepts counted over this and the last round",
        Clauses(accept_tally="this and the last round"),
        rounds=4,
        dense=True,
        violates=False,
        long=True,
        why="accepts in neighbouring rounds lock too many for another quorum in between",
    ),
)
