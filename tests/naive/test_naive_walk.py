"""Validity and the protocol's leaves, judged twice on random chains (protocol §4, §5)."""

from collections import Counter

import pytest

from tests.consensus.builders_chain import make_spec
from tests.naive.naive_lab import genesis_leaves, naive_spec
from tests.naive.naive_rules import genesis_values
from tests.naive.naive_walk import Walk


def test_genesis_leaves() -> None:
    for owners in (1, 4):
        spec = make_spec(owners)
        assert genesis_values(naive_spec(spec)) == genesis_leaves(spec)


def test_a_walk_agrees() -> None:
    walk = Walk(1)
    walk.run(10)
    assert walk.chain.view.epoch == 1


@pytest.mark.parametrize("kind", ["solo", "probabilistic"])
def test_walks_of_other_kinds_agree(kind: str) -> None:
    met: Counter[str] = Counter()
    for seed in range(2):
        walk = Walk(seed, kind)
        walk.run(18)
        met += walk.met
    taken = {name.split()[0] for name in met if name.endswith(" taken")}
    refused = {name.split()[0] for name in met if " a vote where" in name or " no hill" in name}
    barred = {"SlotClaim"} if kind == "solo" else {"LateAccept", "Evidence"}
    assert refused == barred, met
    assert not taken & barred
    assert "Renew" in taken


@pytest.mark.slow
def test_walks_agree_and_meet_every_rule() -> None:
    met: Counter[str] = Counter()
    for seed in range(9):
        walk = Walk(seed)
        walk.run(34)
        met += walk.met
    kinds = {"SlotClaim", "Renew", "LateAccept", "Evidence", "DoubleProposal"}
    assert {name.split()[0] for name in met if name.endswith(" taken")} >= kinds
    refused = [name for name in met if name.split()[0] in kinds and not name.endswith(" taken")]
    assert len(refused) >= 20, sorted(met)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["snowball", "solo", "probabilistic"])
@pytest.mark.parametrize("start", range(100, 400, 20))
def test_many_walks_agree(start: int, kind: str) -> None:
    for seed in range(start, start + (20 if kind == "snowball" else 3)):
        Walk(seed, kind).run(48)
