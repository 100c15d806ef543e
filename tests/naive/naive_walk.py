"""A random chain without messages: facts of all kinds, right and wrong, at random heights."""

from collections import Counter
from random import Random

from consensus.block import Block
from consensus.facts import Fact, decode_fact
from consensus.ids import Hash, Peer, content_id
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_keys import peer_key
from tests.naive.naive_lab import agreed

MINERS = 7  # peers beside the first owners
NONCES = 6
BARE = {"beta": 30, "settle_base_ms": 4_000}  # the least of a chain that polls alone


class Stuck(Exception):
    """No ranked owner is left that could propose."""


class Walk:
    """Blocks on blocks; each fact that comes up is judged alone by both, then what holds is kept.

    `met` counts the verdicts, so that a test can say what it saw.
    """

    def __init__(self, seed: int, kind: str = "snowball") -> None:
        self.random = random = Random(seed)
        self.kind = kind
        slots = random.choice([5, 12, 12, 20])
        parameters = small(
            slots=slots,
            difficulty_bits_min=random.choice([0, 1, 2]),
            turnover_max=random.choice([1, 2, slots]),
            turnover_interval_ms=random.choice([1, 3000]),
            evidence_ms=random.choice([1, 9_000, 10**9]),
            facts_max=random.choice([16, 64]),
            heartbeat_s=random.choice([0, 2]),
            **(BARE if kind == "probabilistic" else {}),
        )
        owners = self._owners(slots)
        self.chain = MiniChain(make_spec(owners, parameters, consensus=kind))
        self.peers = [peer_key(number) for number in range(MINERS + 4)]
        self.met: Counter[str] = Counter()
        self.kept: list[Fact] = []
        self.blocks: list[Block] = []

    def _owners(self, slots: int) -> list[Peer | None]:
        number = 1 if self.kind == "solo" else self.random.choice([1, 2, 4, 4])
        owners: list[Peer | None] = [peer_key(slot % number) for slot in range(slots)]
        for slot in range(1, slots):
            if self.random.random() < 0.1:
                owners[slot] = None
        return owners

    def run(self, heights: int) -> None:
        try:
            for _ in range(heights):
                self.step()
        except Stuck:
            self.met["stuck"] += 1

    # ---- one height -----------------------------------------------------------------------------

    def step(self) -> None:
        random, view = self.random, self.chain.view
        how = {"rank": self._rank(), "elapsed_ms": random.choice([1, 700, 2000])}
        candidates = [fact for _ in range(random.randrange(6)) for fact in self._fact()]
        if view.claim_open and random.random() < 0.5:
            candidates += [self.chain.renew(peer) for peer in view.table.weights]
        facts: list[Fact] = []
        for fact in candidates:
            alone = agreed(self.chain, self.chain.block(facts=[fact], **how))
            self.met["fact " + ("refused" if alone.broken else "taken")] += 1
            self.met[f"{type(fact).__name__} {alone.broken or 'taken'}"] += 1
            together = agreed(self.chain, self.chain.block(facts=[*facts, fact], **how))
            if together.broken is None:
                facts.append(fact)
                self.kept.append(fact)
            elif alone.broken is None:
                self.met[f"beside others: {together.broken}"] += 1
        self._commit(facts, how)

    def _rank(self) -> int:
        """Of somebody who can open its commitment; a made-up one cannot be."""
        view = self.chain.view
        order = view.ranking(self.chain.tip.fields.randomness, 0)
        able = [
            rank
            for rank, (peer, _) in enumerate(order)
            if not view.ranked or view.chains[peer].link != bytes(32)
        ]
        if not able:
            raise Stuck
        return self.random.choice(able)

    def _commit(self, facts: list[Fact], how: dict[str, int]) -> None:
        block = self.chain.block(facts=facts, **how)
        whole = agreed(self.chain, block)
        assert whole.broken is None, f"height {block.height}: {whole.broken}"
        self.blocks.append(block)
        table = self.chain.view.table
        signers = list(table.weights)
        if self.random.random() < 0.3:  # else the same ones are late every time
            self.random.shuffle(signers)
        while len(signers) > 1 and table.is_quorum(
            sum(table.weights[peer] for peer in signers[1:])
        ):
            if self.random.random() < 0.4:
                break
            signers.pop(0)
        self.chain.commit(block, signers)
        self.met[f"epochs {self.chain.view.epoch}"] += 1

    # ---- facts ----------------------------------------------------------------------------------

    def _peer(self) -> Peer:
        return self.random.choice(self.peers)

    def _epoch(self) -> int:
        epoch = self.chain.view.epoch
        return max(0, epoch + self.random.choice([1, 1, 1, 1, 1, 0, 2]))

    def _commitment(self) -> Hash | None:
        return Hash(bytes(32)) if self.random.random() < 0.1 else None

    def _fact(self) -> list[Fact]:
        kind = self.random.choice(["claim"] * 4 + ["renew", "late", "vote", "double", "old"])
        if kind == "claim":
            return self._claims()
        if kind == "renew":
            return [
                self.chain.renew(self._peer(), epoch=self._epoch(), commitment=self._commitment())
            ]
        if kind == "old":
            return self.random.sample(self.kept, 1) if self.kept else []
        if not self.blocks:
            return []
        fact = self._late() if kind == "late" else self._evidence(kind)
        if self.random.random() < 0.1:  # another signature: the last byte of one
            fact = decode_fact(fact.raw[:-1] + bytes((fact.raw[-1] ^ 1,)))
        return [fact]

    def _claims(self) -> list[Fact]:
        random = self.random
        if self.chain.view.claim_open and random.random() < 0.8:
            mined = self.chain.mine(self._peer(), commitment=self._commitment(), count=NONCES)
            return [claim for _, claim in mined]
        return [
            self.chain.claim(
                self._peer(),
                random.randbytes(16),
                epoch=self._epoch(),
                chain=random.choice([None, None, content_id(b"another chain")]),
                commitment=self._commitment(),
            )
        ]

    def _late(self) -> Fact:
        random, view = self.random, self.chain.view
        header = random.choice(self.chain.headers[1:][-40:])
        last = self.chain.certificates[-1]
        signers = [] if last is None else [peer for peer, _ in last.signatures]
        known = [*view.alive, *signers]
        silent = [peer for peer in view.table.weights if peer not in known]
        peer = random.choice(silent) if silent and random.random() < 0.7 else self._peer()
        if random.random() < 0.5:
            header = self.chain.tip
        fields: dict[str, object] = {}
        if random.random() < 0.15:
            fields["epoch"] = header.fields.epoch + 1
        if random.random() < 0.15:
            fields["height"] = random.choice([1, self.chain.height + 1, header.height + 8])
        if random.random() < 0.1:
            fields["round_"] = 3
        return self.chain.late(peer, header, **fields)

    def _evidence(self, kind: str) -> Fact:
        random = self.random
        index = random.randrange(len(self.chain.headers) - 1)
        header = self.chain.headers[index + 1]
        if kind == "double":
            block = self.blocks[index]
            time_ms = block.header.fields.time_ms + 1
            fields = block.header.fields._replace(time_ms=time_ms)
            other = Block(type(block.header).of(fields), block.body)
            one, two = sorted((block, other), key=lambda each: each.id)
            return self.chain.double_proposal(one, two, self._peer())
        fields_: dict[str, object] = {}
        if random.random() < 0.15:
            fields_["epoch"] = max(0, header.fields.epoch + random.choice([-1, 1, 5]))
        if random.random() < 0.2:
            fields_["phase"] = "confirm"
        if random.random() < 0.1:
            fields_["height"] = random.choice([1, 2, self.chain.height + 1, 1000])
        return self.chain.double_vote(self._peer(), header, **fields_)
