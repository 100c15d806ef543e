"""All words that nodes of a run gave, and the rules that they must not break (protocol §7, §12).

An observer beside the nodes: it believes no sign record, only what was signed. Knows no network.
"""

from collections.abc import Mapping

from consensus.block import proposed_block
from consensus.certificates import Vote, append_signature
from consensus.effects import Commit, Effect, Sign
from consensus.ids import BlockId, Peer
from consensus.signatures import PROPOSAL
from consensus.signing import ACCEPT, CONFIRM, SignRecord
from consensus.spec import ChainSpec
from testnet.sim.host import Host

Place = tuple[int, int, int]  # height, round, phase
_NO_SIGNATURE = bytes(64)


class History:
    """`broken`: each rule that was broken, in words, the first first.

    Words are weighed by the table of their epoch, as whoever said them knows it; that all know the
    same one is judged too.
    """

    def __init__(self, spec: ChainSpec) -> None:
        self.spec = spec
        self._tables: dict[int, Mapping[Peer, int]] = {0: spec.genesis_table().weights}
        self._learned: dict[Peer, int] = {}  # the newest epoch whose table each peer showed
        self.signed: dict[Peer, dict[Place, bytes]] = {}
        self.newest: dict[Peer, Place] = {}
        self.locks: dict[Peer, tuple[int, BlockId, int]] = {}  # height, block, round
        self.votes: dict[tuple[Place, BlockId | None], dict[Peer, None]] = {}
        self.certified: dict[int, BlockId] = {}
        self.starts_judged = True  # whether a restarted node's record is compared with its words
        self.broken: list[str] = []
        self.signatures = 0
        self.locked_restarts = 0

    # ---- what happens ---------------------------------------------------------------------------

    def record(self, host: Host, effect: Effect) -> None:
        """An effect was performed."""
        if type(effect) is Sign:
            self._learn(host, self.spec.parameters.epoch(effect.height))
            self._record_signed(host.peer, effect)
        elif type(effect) is Commit:
            self._record_certified(effect)

    def record_copy(self, host: Host, effect: Effect) -> None:
        """A second machine with a peer's key: its words count for quorums, and break no rule."""
        if type(effect) is Sign:
            place = (effect.height, effect.round, effect.phase)
            self.votes.setdefault((place, _named(effect)), {})[host.peer] = None
        elif type(effect) is Commit:
            self._record_certified(effect)

    def record_false(self, peer: Peer, place: Place, block: BlockId | None) -> None:
        """A Byzantine peer signed another value: it counts for quorums, and breaks no rule here."""
        self.votes.setdefault((place, block), {})[peer] = None

    def record_start(self, host: Host) -> None:
        """A node starts from its disk: its record must hold its newest word and its lock."""
        assert host.core is not None
        record, peer = host.core.engine.machine.record, host.peer
        lock = self.locks.get(peer)
        if lock is not None and lock[0] > len(host.disk.chain):
            self.locked_restarts += 1
        if not self.starts_judged:
            return
        if record.place < self.newest.get(peer, record.place):
            self._break(f"record behind: {record.place} after {self.newest[peer]}", peer)
        if lock is not None and lock[0] > len(host.disk.chain) and not holds_lock(record, lock):
            kept = None if record.lock is None else (record.lock.height, record.lock.round)
            self._break(f"lock lost: {kept} in the record, {lock[0], lock[2]} signed", peer)

    # ---- rules ----------------------------------------------------------------------------------

    def _break(self, what: str, peer: Peer) -> None:
        self.broken.append(f"{what}, peer {peer.hex()[:8]}")

    def _learn(self, host: Host, epoch: int) -> None:
        """The table by which a peer decides in an epoch."""
        if self._learned.get(host.peer, 0) >= epoch or host.core is None:
            return
        table = host.core.engine.machine.tip.view.table_of(epoch)
        if table is None:
            return
        self._learned[host.peer] = epoch
        if self._tables.setdefault(epoch, table.weights) != table.weights:
            self._break(f"another table of epoch {epoch}", host.peer)

    def _record_signed(self, peer: Peer, effect: Sign) -> None:
        place = (effect.height, effect.round, effect.phase)
        own = self.signed.setdefault(peer, {})
        before = own.get(place)
        if before is not None:
            if before != effect.unsigned:
                self._break(f"two signed values at {place}", peer)
            return
        self.signatures += 1
        own[place] = effect.unsigned
        newest = self.newest.get(peer)
        if newest is not None and place < newest:
            self._break(f"signed {place} after {newest}", peer)
        self.newest[peer] = max(place, newest or place)
        block = _named(effect)
        self.votes.setdefault((place, block), {})[peer] = None
        if block is None or self.spec.parameters.epoch(effect.height) not in self._tables:
            return
        if effect.phase == CONFIRM:
            self._check_lock(peer, place, block)
        elif effect.phase == ACCEPT:
            self._check_accept(peer, place, block)
            self.locks[peer] = (effect.height, block, effect.round)

    def _check_lock(self, peer: Peer, place: Place, block: BlockId) -> None:
        """Another block than the locked one only with a quorum of confirms from its round on."""
        lock = self.locks.get(peer)
        if lock is None or lock[0] != place[0] or lock[1] == block:
            return
        rounds = range(lock[2], place[1] + 1)
        if not any(self._quorum((place[0], round_, CONFIRM), block) for round_ in rounds):
            self._break(f"lock broken: confirm at {place}, locked in round {lock[2]}", peer)

    def _check_accept(self, peer: Peer, place: Place, block: BlockId) -> None:
        """After a quorum of confirms of that round, or shown the certificate."""
        height, round_, _ = place
        confirmed = self._quorum((height, round_, CONFIRM), block)
        if not confirmed and not self._quorum((height, round_, ACCEPT), block):
            self._break(f"accept without a quorum of confirms at {place}", peer)

    def _quorum(self, place: Place, block: BlockId) -> bool:
        weights = self._tables[self.spec.parameters.epoch(place[0])]
        peers = self.votes.get((place, block), {})
        return 3 * sum(weights.get(peer, 0) for peer in peers) > 2 * sum(weights.values())

    def _record_certified(self, effect: Commit) -> None:
        height, block = effect.block.height, effect.block.id
        if self.certified.setdefault(height, block) != block:
            self.broken.append(f"two certified blocks at height {height}")


def _named(effect: Sign) -> BlockId | None:
    if effect.kind == PROPOSAL:
        return proposed_block(effect.unsigned)
    return Vote.decode(append_signature(effect.unsigned, _NO_SIGNATURE)).block


def holds_lock(record: SignRecord, lock: tuple[int, BlockId, int]) -> bool:
    """The lock that was signed, or a newer one: of a later height, where the chain was lost since,
    or of which the power took the signature only."""
    height, block, round_ = lock
    if record.lock is not None and record.lock.height > height:
        return True
    held = record.lock_at(height)
    if held is None or held.round < round_:
        return False
    if held.round == round_:
        return held.block == block
    return record.signed(height, held.round, ACCEPT) is not None
