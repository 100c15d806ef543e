"""What was wrong with the earlier generations of Apocryph: C of consensus, S of selecting slots.

Data only. `tests/planted` brings each of them back, and a test has to see it.
"""

from typing import NamedTuple


class Weakness(NamedTuple):
    """`name`: C1 … C22, S1 … S9, as planted faults cite it."""

    name: str
    text: str


ANCESTORS = (
    Weakness("C1", "one query of anybody, for a block that does not exist, halted a chain"),
    Weakness("C2", "blocks were checked after the decision; peers parted silently"),
    Weakness("C3", "validity depended on what lay in a peer's own pool"),
    Weakness("C4", "no order of proposers: every owner proposed, and the first heard counted"),
    Weakness("C5", "a peer that was offline ended the polls of others"),
    Weakness("C6", "thresholds were of k, however few slots were occupied or answered"),
    Weakness("C7", "samples were biased, and included the one who asks"),
    Weakness("C8", "a failed poll did not reset the streak; beta was off by two"),
    Weakness("C9", "no signatures and no certificates: nobody outside could check a block"),
    Weakness("C10", "anybody could claim to be the best proposer"),
    Weakness("C11", "one query moved the answerer's preference, which Snowball forbids"),
    Weakness("C12", "equality of blocks left out the parent"),
    Weakness("C13", "votes were not bound to a chain; one peer could confirm and reject"),
    Weakness("C14", "execution of a candidate changed the state of the last block in place"),
    Weakness("C15", "every node ran the validators of every chain"),
    Weakness("C16", "an answer that nobody had asked for made the node fail"),
    Weakness("C17", "a proposer without commands waited for ever and answered nothing meanwhile"),
    Weakness("C18", "idle chains made empty blocks without pause; blocks had no bound of size"),
    Weakness("C19", "pools, rounds and gossip grew without bound; anybody could make them grow"),
    Weakness("C20", "several writers of one state without a lock: votes and messages were lost"),
    Weakness("C21", "proposer and validator counted differently, so blocks never validated"),
    Weakness("C22", "who owns no slot could not follow a chain"),
    Weakness("S1", "no salt, no epoch, no expiry: old hashes kept slots for ever, also offline"),
    Weakness("S2", "one hash was good on every chain"),
    Weakness("S3", "no least difficulty: an empty chain was taken at once"),
    Weakness("S4", "a claim named any peer and was not signed"),
    Weakness("S5", "the form of keys gave a second try for one piece of work"),
    Weakness("S6", "a claim for an unknown chain, or a huge table, stopped all work on slots"),
    Weakness("S7", "each peer had its own map of the slots, so samples differed"),
    Weakness("S8", "the salt came from a block that its proposer could choose"),
    Weakness("S9", "signers without slots, two thirds for a quorum, and other holes of contracts"),
)
