"""A whole network in lockstep, slot by slot: real dice, real polls, real Snowball, one node each.

Slow and plain on purpose: what `testnet.scale.model` computes with chances, this draws.
"""

from consensus.dice import Dice
from consensus.ids import BlockId, Peer
from consensus.polls import Poll, draw_poll
from consensus.snowball import Snowball
from testnet.scale.networks import Kind, Network

VALUES = tuple([BlockId(name * 36) for name in (b"a", b"b", b"c", b"d")])


class NaiveNetwork:
    """One decision; `run` gives the rounds until all settled, null after rounds_max."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network, self.dice = network, Dice(seed.to_bytes(32, "big"))
        self.owners = [Peer(node.to_bytes(32, "big")) for node in range(network.nodes)]
        _, _, preference, confidence = network.draw
        edges = [
            network.honest * sum(network.start[:v]) // 100 for v in range(1, len(network.start))
        ]
        self.started = [
            VALUES[sum(node >= edge for edge in edges)] for node in range(network.honest)
        ]
        self.nodes = [
            Snowball(preference, confidence, network.beta, start, yields=network.weakly)
            for start in self.started
        ]

    def run(self) -> int | None:
        for round_ in range(1, self.network.rounds_max + 1):
            self._round()
            if all(node.settled is not None for node in self.nodes):
                return round_
        return None

    @property
    def agreed(self) -> bool:
        return len({node.settled for node in self.nodes if node.settled is not None}) <= 1

    def _round(self) -> None:
        answers = [node.settled or node.preference for node in self.nodes]
        counts = [answers.count(value) for value in VALUES[: len(self.network.start)]]
        fewest = VALUES[counts.index(min(counts))]
        for asker, node in enumerate(self.nodes):
            told = self._told(asker, answers, fewest)
            for _ in range(self.network.concurrent_polls):
                if node.settled is None:
                    node.record_poll(self._poll(answers, told).weights)

    def _told(self, asker: int, answers: list[BlockId | None], fewest: BlockId) -> BlockId | None:
        """What the adversary's slots answer this asker."""
        match self.network.adversary.kind:
            case Kind.MUTE:
                return None
            case Kind.BALANCING:
                return fewest
            case Kind.SPLIT:
                return self.started[asker]
            case Kind.ECHO:
                return answers[asker]

    def _poll(self, answers: list[BlockId | None], told: BlockId | None) -> Poll:
        poll = draw_poll(self.owners, self.dice.sample(self.network.nodes, self.network.draw.k))
        for peer in list(poll.drawn):
            slot = int.from_bytes(peer, "big")
            poll.record_answer(peer, answers[slot] if slot < len(answers) else told)
        return poll
