"""Three real engines and an adversary that shows a vote it held back at the last moment.

Every message of an honest peer reaches everybody within `DELAY_MS`, for ever; the adversary owns
one slot of four, and adds at most one signed confirm a round. It completes the quorum of confirms
of the last round for one peer, the last to enter the round, after the others have settled on the
valid value that they know. See `healed`: without a leader that play has no end.
"""

from consensus import polling
from consensus.block import Block
from consensus.certificates import Vote
from consensus.effects import Build, Commit, Gossip
from consensus.events import VotesReceived
from consensus.ids import BlockId
from consensus.signatures import CONFIRM
from tests.consensus.builders_chain import MiniChain, make_spec, small
from tests.consensus.builders_engine import Desk
from tests.consensus.builders_keys import peer_key

DELAY_MS = 20  # of every honest message; far below vote_timeout and poll_timeout
HONEST = 3


class Cluster:
    """Desks 0, 1, 2 and the adversary's key, peer 3; one clock."""

    def __init__(self) -> None:
        self.chain = MiniChain(make_spec(4, small()))
        self.desks = [Desk(number, chain=self.chain) for number in range(HONEST)]
        self.byzantine = peer_key(HONEST)
        for desk in self.desks:
            desk.held = (Build, Commit)
        self.blocks: dict[BlockId, Block] = {}
        self.heard: list[int] = [0] * HONEST  # how much of each desk's effects was passed on

    def propose(self, round_: int) -> tuple[Block, Block]:
        """Two blocks of a round, known and open everywhere."""
        blocks = []
        for rank in (0, 1):
            block = self.chain.block(rank=rank, round=round_)
            for desk in self.desks:
                desk.propose(rank, round_)
            self.blocks[block.id] = block
            blocks.append(block)
        return blocks[0], blocks[1]

    def wait(self, ms: int) -> None:
        for desk in self.desks:
            desk.wait(ms)

    def said(self) -> list[Vote]:
        """Votes that honest peers gossiped since the last call."""
        votes = []
        for number, desk in enumerate(self.desks):
            for effect in desk.all[self.heard[number] :]:
                if isinstance(effect, Gossip) and effect.topic == "votes":
                    votes += [Vote.decode(raw) for _, raw in effect.items]
            self.heard[number] = len(desk.all)
        return votes

    def deliver(self, votes: list[Vote], to: list[int]) -> None:
        for number in to:
            self.desks[number].send(VotesReceived(tuple([(0, vote) for vote in votes])))

    def spread(self) -> list[Vote]:
        """Everything said reaches everybody; what was said because of it is returned, not yet."""
        self.wait(DELAY_MS)
        self.deliver(self.said(), list(range(HONEST)))
        return self.said()

    def certified(self) -> bool:
        return any(isinstance(e, Commit) for desk in self.desks for e in desk.all)

    # ---- the play ------------------------------------------------------------------------------

    def split(self) -> BlockId:
        """Round 0, before the network healed: two prefer one block, the third the other."""
        one, other = self.propose(0)
        for number, block in enumerate((one, one, other)):
            machine = self.desks[number].machine
            self.wait(DELAY_MS)
            polling.settle(machine, block.id)
            self.desks[number].wait(DELAY_MS)
            self.desks[number].send(VotesReceived(()))
        return one.id

    def end_round(self) -> list[Vote]:
        """Confirms reach all; they time out, all accept nil; the accepts are on their way."""
        late = self.spread()
        round_ = self.desks[0].standing.round
        self.wait(self.desks[0].spec.parameters.vote_timeout_ms(round_))
        return late + self.said()

    def confirm(self, block: BlockId, round_: int) -> Vote:
        """The adversary's confirm for a round that is over."""
        return self.desks[0].vote(CONFIRM, self.byzantine, self.blocks[block], round_)

    def confirms(self, round_: int) -> list[BlockId | None]:
        """What the honest peers confirmed in a round."""
        tallies = [desk.standing.votes.tallies[round_, CONFIRM] for desk in self.desks]
        cast = [tally.votes.get(desk.me) for desk, tally in zip(self.desks, tallies, strict=True)]
        return [None if vote is None else vote.block for vote in cast]


def hidden(confirms: list[BlockId | None]) -> BlockId | None:
    """What two of the three confirmed: with the adversary's confirm a quorum."""
    for block in confirms:
        if block is not None and confirms.count(block) == HONEST - 1:
            return block
    return None


def play(rounds: int, *, timely: bool) -> list[list[BlockId | None]]:
    """What was confirmed, round by round, until a certificate or `rounds`.

    `timely`: what is shown to one is passed on before anybody enters the round.
    """
    cluster = Cluster()
    cluster.split()
    told = []
    accepts = cluster.end_round()
    for round_ in range(rounds):
        confirms = cluster.confirms(round_)
        told.append(confirms)
        block = hidden(confirms)
        last = round_ % HONEST if block is None else confirms.index(block)
        first = [number for number in range(HONEST) if number != last]
        shown = [cluster.confirm(block, round_)] if block is not None else []
        if timely:
            cluster.deliver(shown, first)
        cluster.wait(DELAY_MS // 2)
        cluster.deliver(accepts, first)  # they enter the next round, settle, confirm
        if round_ == 0:
            fresh, _ = cluster.propose(1)
            for number in first:
                polling.settle(cluster.desks[number].machine, fresh.id)
                cluster.desks[number].send(VotesReceived(()))
        cluster.deliver(shown, [last])  # and only now the adversary shows its confirm
        cluster.wait(DELAY_MS // 2)
        cluster.deliver(accepts, [last])
        cluster.deliver(shown, first)  # passed on, in time as the network goes, too late for them
        accepts = cluster.end_round()
        if cluster.certified():
            break
    return told
