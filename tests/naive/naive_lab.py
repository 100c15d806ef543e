"""Both implementations side by side: the same parent, the same block, two verdicts."""

from collections.abc import Sequence
from dataclasses import fields

from consensus import transition
from consensus.block import Block, Body, Header
from consensus.errors import ConsensusError
from consensus.parameters import Parameters
from consensus.spec import ChainSpec
from node import speech
from tests.consensus.builders_chain import MiniChain
from tests.consensus.builders_keys import KeyedVerifier
from tests.naive import naive_records, naive_rules
from tests.naive.naive_cbor import Bad, id_of

PARAMETER_NAMES = [field.name for field in fields(Parameters)]
NOTHING = naive_rules.Done({}, [], 0)


def naive_spec(spec: ChainSpec) -> naive_records.Spec:
    return naive_records.spec_of(spec.raw, PARAMETER_NAMES)


def own_leaves(values: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The protocol's leaves: what needs no execution."""
    return {key: value for key, value in values.items() if key.startswith(b"c/")}


class Verdict:
    """A rule that is broken, or the leaves afterwards."""

    def __init__(self, broken: str | None, leaves: dict[bytes, bytes]) -> None:
        self.broken, self.leaves = broken, leaves

    def __repr__(self) -> str:
        return f"broken {self.broken!r}" if self.broken else f"valid, {len(self.leaves)} leaves"


def told_apart(ours: Verdict, naive: Verdict) -> str | None:
    """How they differ, null where they agree."""
    if (ours.broken is None) != (naive.broken is None):
        return f"ours {ours}, naive {naive}"
    if ours.broken is None and ours.leaves != naive.leaves:
        keys = sorted({*ours.leaves, *naive.leaves})
        lines = [
            f"{key!r}: ours {ours.leaves.get(key)!r}, naive {naive.leaves.get(key)!r}"
            for key in keys
            if ours.leaves.get(key) != naive.leaves.get(key)
        ]
        return "leaves differ: " + "; ".join(lines)
    return None


# ---- without execution --------------------------------------------------------------------------


def ours_of(chain: MiniChain, header_raw: bytes, body_raw: bytes) -> Verdict:
    """Bytes → signatures → header rules → facts, as a node goes through them."""
    try:
        block = Block(Header.decode(header_raw), Body.decode(body_raw))
        verifier = KeyedVerifier()
        if not all(verifier.verify(*each) for each in speech.block_checks(block)):
            return Verdict("signature", {})
        chain.check(block)
        changes = chain.changes(block)
    except ConsensusError as error:
        return Verdict(f"{error.code}: {error}", {})
    values = dict(chain.state.items())
    for key, value in changes.items():
        naive_rules.put(values, key, value)
    return Verdict(None, own_leaves(values))


def naive_of(chain: MiniChain, header_raw: bytes, body_raw: bytes) -> Verdict:
    judge = naive_rules.Judge(naive_spec(chain.spec), KeyedVerifier().verify)
    before = naive_records.header_of(chain.tip.raw)
    values = dict(chain.state.items())
    parent = naive_rules.Parent(before, id_of(chain.tip.raw), values)
    try:
        header = naive_records.header_of(header_raw)
        body = naive_records.body_of(body_raw)
        certificate = judge.check_form(parent, header, body)
        after = judge.changed(parent, header, body, certificate, [], NOTHING)
    except Bad as error:
        return Verdict(str(error), {})
    return Verdict(None, own_leaves(after))


def both(chain: MiniChain, block: Block) -> tuple[Verdict, Verdict]:
    raws = (block.header.raw, block.body.raw)
    return ours_of(chain, *raws), naive_of(chain, *raws)


def agreed(chain: MiniChain, block: Block) -> Verdict:
    """The one verdict; an AssertionError where there are two."""
    ours, naive = both(chain, block)
    difference = told_apart(ours, naive)
    assert difference is None, f"height {block.height}: {difference}"
    return naive


def with_roots(block: Block) -> Sequence[bytes]:
    return (block.header.raw, block.body.raw)


def genesis_leaves(spec: ChainSpec) -> dict[bytes, bytes]:
    changes = transition.genesis(spec)
    return own_leaves({key: value for key, value in changes.items() if value is not None})
