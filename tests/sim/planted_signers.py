"""Signers with a fault each: what a sign record must keep, left out. The same checks catch them."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from consensus.ids import Height, Round, Signature
from consensus.signing import OWN_MAX, Own, SignRecord
from node.signer import Position, Signer
from node.signer import _State as State
from testnet.sim.cluster import Cluster
from testnet.sim.keys import SimSigner


class LateSigner(SimSigner):
    """Fault: a signature leaves while its record is still on the way to the disk."""

    under_way: State | None = None

    def _save(self, state: State) -> None:
        before, self.under_way = self.under_way or self._state, state
        super()._save(before)
        self._state = state


class LocklessSigner(SimSigner):
    """Fault: lock and valid value are not part of the record."""

    def _save(self, state: State) -> None:
        bare = replace(SignRecord.decode(state.record), lock=None, valid=None).raw
        super()._save(state._replace(record=bare))


class ForgetfulSigner(SimSigner):
    """Fault: own bytes and their place are not kept: after a restart it decides anew."""

    def _save(self, state: State) -> None:
        held = SignRecord.decode(state.record)
        fresh = SignRecord.fresh(held.chain, held.peer)
        bare = replace(fresh, lock=held.lock, valid=held.valid).raw
        super()._save(state._replace(position=fresh.place, record=bare, signed=()))


class StaleSigner(SimSigner):
    """Fault: a restart finds an older record (a restored backup)."""

    def _save(self, state: State) -> None:
        backups.setdefault(self.peer, []).append(state)
        super()._save(state)

    @property
    def record(self) -> bytes:
        states = backups.get(self.peer, [])
        if not self.restored and len(states) >= 6:
            self.restored, self._state = True, states[-6]
        return super().record

    restored = False


backups: dict[bytes, list[State]] = {}


def signers(kind: type[SimSigner]) -> Callable[[Cluster], None]:
    def plant(cluster: Cluster) -> None:
        backups.clear()
        cluster.history.starts_judged = False  # only what is signed may give it away
        for host in cluster.hosts.values():
            host.signer_class = kind
            host.careful = False  # it would end before it says a false word

    return plant


def unchecked_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: anything not remembered may be signed, wherever it stands."""

    def allows(self: SignRecord, height: int, round_: int, phase: int) -> bool:
        return self.signed(height, round_, phase) is None

    def with_own(
        self: SignRecord, height: int, round_: int, phase: int, unsigned: bytes
    ) -> SignRecord:
        own = Own(Height(height), Round(round_), phase, unsigned)
        if own in self.own:
            return self
        here = replace(self, height=own.height, round=own.round, phase=phase)
        return replace(here, own=(*self.own, own)[-OWN_MAX:])

    monkeypatch.setattr(SignRecord, "allows", allows)
    monkeypatch.setattr(SignRecord, "with_own", with_own)

    def sign(self: Signer, record: bytes, position: Position, covered: bytes) -> Signature:
        """The signer believes the record."""
        signature = Signature(self._key.sign(covered))
        self._save(self._state._replace(position=position, record=record))
        return signature

    monkeypatch.setattr(Signer, "sign", sign)
