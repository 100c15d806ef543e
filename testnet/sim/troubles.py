"""Planned faults performed on a cluster: each begins, and ends by itself or when all is healed.

Safety has to hold whatever is done here; `healed` leaves nothing of it. Knows no checks.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from consensus.effects import Effect
from consensus.events import LinkUp
from consensus.ids import Peer
from testnet.sim.cluster import Cluster
from testnet.sim.faults import POINTS, Fault
from testnet.sim.host import FORGOTTEN, Host

CORRUPT: Final = "store_corrupt"
FULL: Final = "store_full"
_END = Callable[[], None]


class Troubles:
    """`counts`: what was done, by kind; `crashes`: how often a node went down."""

    def __init__(self, cluster: Cluster, faults: tuple[Fault, ...], down_max: int) -> None:
        self.cluster, self.faults, self.down_max = cluster, faults, down_max
        self.hosts = list(cluster.hosts.values())
        self.counts: dict[str, int] = {}
        self.crashes = 0
        self.copies: list[Host] = []
        self._faulty: list[Host] = []  # once for each fault under way
        self._usual = {host.peer: host.faulting for host in self.hosts}
        self._ends: dict[int, _END] = {}  # faults under way
        self._cuts: dict[int, Callable[[Peer, Peer], bool]] = {}
        self._losses: dict[int, int] = {}
        self._weather = cluster.wires.weather
        self._armed: dict[int, tuple[int, str, str, int]] = {}  # node: fault, effect, moment, down
        self._drawn: dict[
            int, tuple[int, Effect, str, int]
        ] = {}  # node: life, effect, moment, down
        self._chance = cluster.world.chance
        self._healed = False
        for number, host in enumerate(self.hosts):
            self._watch(number, host)

    def _watch(self, number: int, host: Host) -> None:
        before, after = host.on_effect, host.on_performed

        def on_effect(of: Host, effect: Effect) -> None:
            before(of, effect)
            if number in self._armed:
                self._strike(number, effect)

        def on_performed(of: Host, effect: Effect) -> None:
            after(of, effect)
            if number in self._drawn:
                self._struck(number, effect)

        host.on_effect, host.on_performed = on_effect, on_performed

    # ---- the schedule ---------------------------------------------------------------------------

    def schedule(self) -> None:
        """All faults at their times."""
        for place, fault in enumerate(self.faults):
            self.cluster.simulator.after(fault.at_ms, partial(self._begin, place, fault))

    def heal(self) -> None:
        """Every fault ends, good weather, whoever is down starts."""
        self._healed = True
        for place in list(self._ends):
            self._end(place)
        self._armed.clear()
        self._drawn.clear()
        self.cluster.wires.heal()
        self.cluster.wires.calm()
        for host in self.hosts:
            host.skew_ms, host.drift_per_s = 0, 0
            self._start(host)

    def _begin(self, place: int, fault: Fault) -> None:
        if self._healed:
            return
        end = _KINDS[fault.kind](self, place, fault)
        if end is None:
            return
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        self._ends[place] = end
        self.cluster.simulator.after(fault.duration_ms, lambda: self._end(place))

    def _end(self, place: int) -> None:
        end = self._ends.pop(place, None)
        if end is not None:
            end()

    def _targets(self, fault: Fault) -> list[Host]:
        return [self.hosts[number] for number in fault.targets if number < len(self.hosts)]

    # ---- network --------------------------------------------------------------------------------

    def _cut(self, place: int, cut: Callable[[Peer, Peer], bool]) -> _END:
        self._cuts[place] = cut
        self._recut()

        def end() -> None:
            del self._cuts[place]
            self._recut()

        return end

    def _recut(self) -> None:
        cuts = list(self._cuts.values())
        self.cluster.cut = lambda a, b: any(cut(a, b) for cut in cuts)

    def _partition(self, place: int, fault: Fault) -> _END:
        side = dict.fromkeys(host.peer for host in self._targets(fault))
        return self._cut(place, lambda a, b: (a in side) != (b in side))

    def _deaf(self, place: int, fault: Fault) -> _END:
        side = dict.fromkeys(host.peer for host in self._targets(fault))
        return self._cut(place, lambda a, b: b in side)

    def _dumb(self, place: int, fault: Fault) -> _END:
        side = dict.fromkeys(host.peer for host in self._targets(fault))
        return self._cut(place, lambda a, b: a in side)

    def _apart(self, place: int, fault: Fault) -> _END:
        side = dict.fromkeys(host.peer for host in self._targets(fault))
        return self._cut(place, lambda a, b: a in side and b in side)

    def _lossy(self, place: int, fault: Fault) -> _END:
        def end() -> None:
            del self._losses[place]
            self._reweather()

        self._losses[place] = fault.amount
        self._reweather()
        return end

    def _reweather(self) -> None:
        loss = max([self._weather.loss, *self._losses.values()])
        self.cluster.wires.weather = replace(self._weather, loss=min(loss, 100))

    def _slow_links(self, place: int, fault: Fault) -> _END:
        rates, peers = self.cluster.wires.rates, [host.peer for host in self._targets(fault)]
        for peer in peers:
            rates[peer] = max(1, fault.amount)

        def end() -> None:
            for peer in peers:
                rates.pop(peer, None)

        return end

    # ---- disk -----------------------------------------------------------------------------------

    def _slow_disk(self, place: int, fault: Fault) -> _END:
        return self._setting(fault, "disk_ms", self.cluster.machines.disk_ms)

    def _slow_executor(self, place: int, fault: Fault) -> _END:
        return self._setting(fault, "execute_ms", self.cluster.machines.execute_ms)

    def _setting(self, fault: Fault, name: str, usual: int) -> _END:
        hosts = self._targets(fault)
        for host in hosts:
            setattr(host, name, fault.amount)

        def end() -> None:
            for host in hosts:
                setattr(host, name, usual)

        return end

    def _full_disk(self, place: int, fault: Fault) -> _END:
        hosts = self._targets(fault)
        for host in hosts:
            host.disk.set_full(True)

        def end() -> None:
            for host in hosts:
                host.disk.set_full(False)
                if host.stopped == FULL:
                    self._start(host)

        return end

    def _bit_flip(self, place: int, fault: Fault) -> _END | None:
        """While it is down: in the store (amount even) or in one copy of the sign record."""
        hosts = self._stop_all(fault)
        for host in hosts:
            rot = host.disk.signs if fault.amount % 2 else host.disk.store
            rot.flip(self._chance.below(1 << 30))
        return self._start_all(hosts)

    # ---- process --------------------------------------------------------------------------------

    def _may_stop(self) -> bool:
        return sum(not host.up or host.paused for host in self.hosts) < self.down_max

    def _stop_all(self, fault: Fault) -> list[Host]:
        stopped = []
        for host in self._targets(fault):
            if host.up and self._may_stop():
                self._crash(host)
                stopped.append(host)
        return stopped

    def _start_all(self, hosts: list[Host]) -> _END | None:
        def end() -> None:
            for host in hosts:
                self._start(host)

        return end if hosts else None

    def _crash(self, host: Host) -> None:
        self.crashes += 1
        self.cluster.crash(host.peer)

    def _start(self, host: Host) -> None:
        """As an operator does: a store that is corrupt is caught up anew, with the same key."""
        if host.paused:
            host.resume()
        if host.up or host.life == 0:
            return
        self.cluster.restart(host.peer)
        if host.stopped == CORRUPT:
            self.counts["refetched"] = self.counts.get("refetched", 0) + 1
            host.disk.wipe_chain()
            self.cluster.restart(host.peer)

    def _crash_now(self, place: int, fault: Fault) -> _END | None:
        return self._start_all(self._stop_all(fault))

    def _pause(self, place: int, fault: Fault) -> _END | None:
        paused = [host for host in self._targets(fault) if host.up and not host.paused]
        paused = [host for host in paused if self._may_stop()]
        for host in paused:
            host.paused = True

        def end() -> None:
            for host in paused:
                if host.up:
                    host.resume()

        return end if paused else None

    def _rolling(self, place: int, fault: Fault) -> _END | None:
        """One after the other; the next goes down as long after as this one was."""
        for turn, number in enumerate(fault.targets):
            at_ms = 2 * turn * fault.duration_ms
            one = replace(fault, kind="crash", targets=(number,))
            key = -1 - place * len(self.hosts) - turn
            self.cluster.simulator.after(at_ms, partial(self._begin, key, one))
        return None

    def _clock(self, place: int, fault: Fault) -> _END:
        hosts = self._targets(fault)
        for host in hosts:
            if fault.kind == "skew":
                host.skew_ms = fault.amount
            else:
                host.drift_per_s, host.drift_from_ms = fault.amount, self.cluster.simulator.now_ms

        def end() -> None:
            for host in hosts:
                host.skew_ms, host.drift_per_s = 0, 0

        return end

    def _host_fault(self, place: int, fault: Fault) -> _END:
        hosts = self._targets(fault)
        for host in hosts:
            self._faulty.append(host)
            host.faulting = lambda messages: True

        def end() -> None:
            for host in hosts:
                self._faulty.remove(host)
                if host not in self._faulty:
                    host.faulting = self._usual[host.peer]

        return end

    def _copied_key(self, place: int, fault: Fault) -> _END | None:
        """A second machine with the key and a copy of the disk, started `amount` ms after it was
        copied. One of the two ends when it meets its own newer votes (protocol §7)."""
        hosts = [host for host in self._targets(fault) if host.up]
        copies = [self.cluster.copy_of(host.peer) for host in hosts]
        for copy in copies:
            copy.on_stop = self._copy_stopped
            self.cluster.simulator.after(fault.amount, partial(self._start_copy, copy))
        self.copies += copies

        def end() -> None:
            for host, copy in zip(hosts, copies, strict=True):
                if copy.up:
                    copy.crash()
                self.cluster.wires.remove_copy(copy.peer, copy)
                if host.stopped in FORGOTTEN:
                    _put_newest_back(host, copy)
                    self._start(host)

        return end if copies else None

    def _start_copy(self, copy: Host) -> None:
        if self._healed:
            return
        copy.start()
        for other in self.hosts:
            if other.up and other.peer != copy.peer:
                copy.take(LinkUp(other.peer))

    def _copy_stopped(self, copy: Host, why: str) -> None:
        what = f"copy stopped {why}"
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- crashes at a durable step --------------------------------------------------------------

    def _crash_at(self, place: int, fault: Fault) -> _END | None:
        effect, moment = POINTS[fault.amount % len(POINTS)]
        for number in fault.targets:
            if number < len(self.hosts) and self.hosts[number].up:
                self._armed[number] = (place, effect, moment, fault.duration_ms)
        return None

    def _strike(self, number: int, effect: Effect) -> None:
        _, name, moment, down_ms = self._armed[number]
        if type(effect).__name__ != name or not self._may_stop():
            return
        del self._armed[number]
        host = self.hosts[number]
        life = host.life
        if moment == "before":
            self._fall(host, life, down_ms, name, moment)
        elif moment == "torn":
            soon = max(1, host.disk_ms // 2)
            host.later(soon, lambda: self._fall(host, life, down_ms, name, moment))
        else:
            self._drawn[number] = (life, effect, moment, down_ms)

    def _struck(self, number: int, effect: Effect) -> None:
        life, drawn, moment, down_ms = self._drawn[number]
        host, name = self.hosts[number], type(effect).__name__
        if host.life != life:
            del self._drawn[number]
        elif drawn is effect:
            del self._drawn[number]
            if moment == "durable":
                self._fall(host, life, down_ms, name, moment)
            else:
                host.later(1, lambda: self._fall(host, life, down_ms, name, moment))

    def _fall(self, host: Host, life: int, down_ms: int, name: str, moment: str) -> None:
        if host.life != life or not host.up:
            return
        what = f"crash {moment} {name}"
        self.counts[what] = self.counts.get(what, 0) + 1
        self._crash(host)
        self.cluster.simulator.after(down_ms, lambda: self._start(host))


def _put_newest_back(host: Host, copy: Host) -> None:
    """What the errors say to do: of the two sign records the one that remembers more."""
    if copy.life and copy.signer.position > host.signer.position:
        host.disk.signs = copy.disk.signs.copy()


_KINDS: Final[dict[str, Callable[[Troubles, int, Fault], _END | None]]] = {
    "partition": Troubles._partition,
    "deaf": Troubles._deaf,
    "dumb": Troubles._dumb,
    "apart": Troubles._apart,
    "lossy": Troubles._lossy,
    "slow_links": Troubles._slow_links,
    "slow_disk": Troubles._slow_disk,
    "full_disk": Troubles._full_disk,
    "bit_flip": Troubles._bit_flip,
    "crash": Troubles._crash_now,
    "crash_at": Troubles._crash_at,
    "pause": Troubles._pause,
    "rolling": Troubles._rolling,
    "skew": Troubles._clock,
    "drift": Troubles._clock,
    "copied_key": Troubles._copied_key,
    "slow_executor": Troubles._slow_executor,
    "host_fault": Troubles._host_fault,
}
