"""One block for each rule of facts (consensus/transition.py) that breaks this rule and no earlier.

A row returns null where its rule cannot be broken at this height.
"""

from consensus import claims, leaves
from consensus.block import Block
from consensus.ids import ChainId
from consensus.signatures import ACCEPT, CONFIRM
from testnet.sim.adversaries.bench import ELSEWHERE, Bench, Table
from testnet.sim.adversaries.pen import with_body

OTHER_COMMITMENT = b"\x77" * 32


def _renewal(
    bench: Bench, *, ahead: int = 1, chain: ChainId | None = None, stranger: bool = False
) -> Block:
    peer = bench.stranger("renewer") if stranger else None
    epoch = bench.view.epoch + ahead
    return bench.with_facts(bench.pen.renew(epoch, chain=chain, peer=peer))


def _closed(bench: Bench) -> Block | None:
    return None if bench.view.claim_open else _renewal(bench)


def _open(bench: Bench) -> bool:
    return bench.view.claim_open


def _best(bench: Bench, slot: int) -> int:
    """The height of the best included claim of a slot; −1: none."""
    raw = bench.state.get(leaves.claim_key(slot))
    return -1 if raw is None else leaves.decode_bid(raw).hill


def _rising(bench: Bench, commitment: bytes | None = None) -> list[claims.Found]:
    """Found claims that beat what is included for their slots."""
    return [found for found in bench.found(commitment=commitment) if _beats(bench, found)]


def _beats(bench: Bench, found: claims.Found) -> bool:
    return found.hill > _best(bench, found.slot)


def _two_commitments(bench: Bench) -> Block | None:
    mine, other = _rising(bench), _rising(bench, OTHER_COMMITMENT)
    epoch = bench.view.epoch + 1
    for one in mine:
        for two in other:
            if one.slot != two.slot:
                first = bench.pen.claim(epoch, one.nonce)
                second = bench.pen.claim(epoch, two.nonce, commitment=OTHER_COMMITMENT)
                return bench.with_facts(first, second)
    return None


def _slot_twice(bench: Bench) -> Block | None:
    first: dict[int, bytes] = {}
    epoch = bench.view.epoch + 1
    for found in _rising(bench):
        if found.slot in first:
            both = (first[found.slot], found.nonce)
            return bench.with_facts(*[bench.pen.claim(epoch, nonce) for nonce in both])
        first[found.slot] = found.nonce
    return None


def _beaten(bench: Bench) -> Block | None:
    for found in bench.found():
        if not _beats(bench, found):
            return bench.with_facts(bench.pen.claim(bench.view.epoch + 1, found.nonce))
    return None


def _burned(bench: Bench) -> Block | None:
    """Its own key has an offence on the chain: it must have been caught before."""
    if not bench.state.scan(leaves.EVIDENCE_PREFIX + bench.peer, limit=1):
        return None
    for found in _rising(bench):
        return bench.with_facts(bench.pen.claim(bench.view.epoch + 1, found.nonce))
    return None


def _no_work(bench: Bench) -> Block | None:
    if not _open(bench):
        return None
    worked = {found.nonce for found in bench.found()}
    nonce = next(n.to_bytes(16, "big") for n in range(99) if n.to_bytes(16, "big") not in worked)
    return bench.with_facts(bench.pen.claim(bench.view.epoch + 1, nonce))


def _renewed_twice(bench: Bench) -> Block | None:
    if not _open(bench):
        return None
    renewal = bench.pen.renew(bench.view.epoch + 1)
    return bench.with_facts(renewal, renewal)


def _alive_already(bench: Bench) -> Block | None:
    if bench.height < 2 or bench.peer not in bench.view.alive:
        return None
    return bench.with_facts(bench.late(height=bench.height - 1))


def _late_of_future(bench: Bench) -> Block:
    return bench.with_facts(bench.late(height=bench.height))


def _late(bench: Bench, **how: object) -> Block | None:
    if bench.height < 2:
        return None
    return bench.with_facts(bench.late(height=bench.height - 1, **how))  # type: ignore[arg-type]


def _old_evidence(bench: Bench) -> Block | None:
    if bench.view.epoch < 1:
        return None
    return bench.with_facts(bench.evidence(height=1))


def _caught_twice(bench: Bench) -> Block:
    proofs = [bench.evidence(height=bench.height, phase=phase) for phase in (CONFIRM, ACCEPT)]
    return bench.with_facts(*proofs)


FACTS: Table = {
    "fact encoding": lambda bench: with_body(bench.block, facts=(b"\x80",)),
    "fact chain": lambda bench: _renewal(bench, chain=ELSEWHERE),
    "fact epoch": lambda bench: _renewal(bench, ahead=2),
    "claim_close": _closed,
    "commitment": _two_commitments,
    "claim": _no_work,
    "one claim per slot": _slot_twice,
    "claim height": _beaten,
    "renew owner": lambda bench: _renewal(bench, stranger=True) if _open(bench) else None,
    "one renewal": _renewed_twice,
    "late chain": lambda bench: _late(bench, chain=ELSEWHERE),
    "late height": _late_of_future,
    "late epoch": lambda bench: _late(bench, epoch=bench.view.epoch + 5),
    "late owner": lambda bench: _late(bench, peer=bench.stranger("late")),
    "late needed": _alive_already,
    "evidence chain": lambda bench: bench.with_facts(
        bench.evidence(height=bench.height, chain=ELSEWHERE)
    ),
    "evidence epoch": lambda bench: bench.with_facts(
        bench.evidence(height=bench.height, epoch=bench.view.epoch + 1)
    ),
    "evidence age": _old_evidence,
    "evidence owner": lambda bench: bench.with_facts(
        bench.evidence(height=bench.height, peer=bench.stranger("evil"))
    ),
    "evidence once": _caught_twice,
    "claim void": _burned,
}
