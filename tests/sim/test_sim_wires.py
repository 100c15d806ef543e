"""The simulated network, packet by packet: what the weather does, and what is counted."""

from collections.abc import Callable
from typing import Any

import pytest

from consensus.dice import Dice
from consensus.effects import BODIES, POLL, VOTES, Ask
from consensus.ids import Peer
from testnet.sim.relays import Relays
from testnet.sim.scenario import Weather
from testnet.sim.simulator import Chance, Lane, Simulator
from testnet.sim.wires import FRAME_BYTES, CopyWires, Packet, Wires

PEERS = [Peer(bytes([n]) * 32) for n in range(20)]


class Ear:
    """A node that remembers what it hears, and when."""

    def __init__(self, simulator: Simulator, verdict: str = "accept") -> None:
        self.simulator, self.verdict, self.up = simulator, verdict, True
        self.heard: list[tuple[int, bytes]] = []

    def hear(self, topic: str, record: bytes, source: Peer) -> str:
        self.heard.append((self.simulator.now_ms, record))
        return self.verdict

    def serve(self, proto: str, data: bytes, source: Peer, reply: Callable[[bytes], None]) -> None:
        self.heard.append((self.simulator.now_ms, data))
        reply(b"reply" + data)


def net(
    nodes: int = 2, *, kind: type[Wires] = Wires, **weather: Any
) -> tuple[Simulator, Wires, list[Ear]]:
    dice = Dice(bytes(32))
    simulator = Simulator(dice)
    calm: dict[str, Any] = {"delay_ms": 10, "jitter_ms": 0, "delay": "fixed"}
    wires = kind(simulator, dice.child("w"), Weather(**{**calm, **weather}))
    ears = [Ear(simulator) for _ in range(nodes)]
    for peer, ear in zip(PEERS, ears, strict=False):
        wires.add(peer, ear)
    return simulator, wires, ears


def said(count: int, **weather: Any) -> list[tuple[int, bytes]]:
    """What arrives of so many records, said at once."""
    simulator, wires, ears = net(**weather)
    for number in range(count):
        wires.say(PEERS[0], PEERS[1], VOTES, number.to_bytes(2, "big"))
    simulator.run(100_000)
    return ears[1].heard


def test_in_calm_weather_everything_comes_once_in_order_and_is_counted() -> None:
    simulator, wires, ears = net(3)
    wires.gossip(PEERS[0], VOTES, b"abc")
    simulator.run(1_000)
    assert [ear.heard for ear in ears] == [[], [(10, b"abc")], [(10, b"abc")]]
    assert wires.packets == {VOTES: 2} and wires.bytes == {VOTES: 2 * (3 + FRAME_BYTES)}


def test_shares_of_loss_duplicates_and_replays_are_what_was_asked_for() -> None:
    assert 640 <= len(said(1_000, loss=30)) <= 760
    assert 1_250 <= len(said(1_000, duplicate=30)) <= 1_350
    replayed = said(1_000, replay=50, replay_ms=4_000)
    assert 1_440 <= len(replayed) <= 1_560
    late = [at for at, _ in replayed if at > 10]
    assert 3_500 < max(late) <= 4_000 and len(late) > 400, "old packets come later"


def test_order_is_kept_or_not() -> None:
    records = [record for _, record in said(200)]
    assert records == sorted(records)
    mixed = [record for _, record in said(200, reorder=20)]
    assert mixed != sorted(mixed) and len(mixed) == 200


@pytest.mark.parametrize(
    ("delay", "least", "most", "spread"),
    [("fixed", 10, 10, 1), ("uniform", 10, 30, 21), ("long_tail", 10, 10 + 20 * 64, 40)],
)
def test_distributions_of_delay(delay: str, least: int, most: int, spread: int) -> None:
    times = [at for at, _ in said(3_000, delay=delay, jitter_ms=20)]
    assert least <= min(times) and max(times) <= most
    assert len(set(times)) >= spread
    if delay == "long_tail":
        assert sorted(times)[1_500] <= 30 < 100 < max(times), "half is quick, some is very late"


def test_a_cut_is_one_way_and_heals() -> None:
    simulator, wires, ears = net()
    wires.cut = lambda a, b: a == PEERS[0]
    wires.gossip(PEERS[0], VOTES, b"1")
    wires.gossip(PEERS[1], VOTES, b"2")
    simulator.run(100)
    wires.heal()
    wires.gossip(PEERS[0], VOTES, b"3")
    simulator.run(200)
    assert [r for _, r in ears[0].heard] == [b"2"] and [r for _, r in ears[1].heard] == [b"3"]


def test_a_query_comes_back_over_the_same_weather() -> None:
    simulator, wires, _ = net()
    got: list[tuple[int, bytes]] = []
    ask = Ask(1, PEERS[1], POLL, b"q", 1_000)
    wires.ask(PEERS[0], PEERS[1], ask, lambda raw: got.append((simulator.now_ms, raw)))
    simulator.run(1_000)
    assert got == [(20, b"replyq")] and wires.packets == {POLL: 2}


def test_bytes_take_time_and_urgent_ones_go_first() -> None:
    """100 bytes a ms: a body of 100 kB takes a second; a vote waits for one chunk of it."""
    simulator, wires, ears = net(node_bytes_per_ms=100)
    wires.say(PEERS[0], PEERS[1], BODIES, bytes(100_000 - FRAME_BYTES))
    wires.say(PEERS[0], PEERS[1], BODIES, b"second")
    wires.say(PEERS[0], PEERS[1], VOTES, b"vote")
    simulator.run(10_000)
    at = {record[:6]: time for time, record in ears[1].heard}
    assert at[bytes(6)] == 1_010
    assert 160 <= at[b"vote"] <= 180
    assert 1_010 < at[b"second"] <= 1_020, "and what is less urgent waits behind all"


def test_a_slow_node_is_slow_towards_everybody_a_slow_link_is_not() -> None:
    for rate, last in (("node_bytes_per_ms", 2_010), ("link_bytes_per_ms", 1_010)):
        weather: dict[str, Any] = {rate: 100}
        simulator, wires, ears = net(3, **weather)
        wires.gossip(PEERS[0], BODIES, bytes(100_000 - FRAME_BYTES))
        simulator.run(10_000)
        assert max(at for ear in ears[1:] for at, _ in ear.heard) == last


def test_who_schedules_decides_when_and_how_often() -> None:
    simulator, wires, ears = net()
    plans = {b"lost": [], b"twice": [5, 900]}
    seen: list[Packet] = []

    def scheduler(packet: Packet) -> list[int] | None:
        seen.append(packet)
        return plans.get(packet.data)

    wires.scheduler = scheduler
    for record in (b"lost", b"twice", b"usual"):
        wires.say(PEERS[0], PEERS[1], VOTES, record)
    simulator.run(2_000)
    assert ears[1].heard == [(5, b"twice"), (10, b"usual"), (900, b"twice")]
    assert {(p.kind, p.name, p.at_ms) for p in seen} == {("gossip", VOTES, 0)}


def test_two_nodes_of_one_key_hear_each_other_and_both_hear_the_rest() -> None:
    simulator, wires, ears = net(3)
    copy = Ear(simulator)
    wires.add_copy(PEERS[0], copy)
    wires.gossip(PEERS[0], VOTES, b"first")
    CopyWires(wires).gossip(PEERS[0], VOTES, b"copy")
    wires.gossip(PEERS[1], VOTES, b"other")
    simulator.run(100)
    heard = [sorted(record for _, record in ear.heard) for ear in (*ears, copy)]
    assert heard == [
        [b"copy", b"other"],
        [b"copy", b"first"],
        [b"copy", b"first", b"other"],
        [b"first", b"other"],
    ]
    wires.remove_copy(PEERS[0], copy)
    wires.gossip(PEERS[1], VOTES, b"later")
    simulator.run(200)
    assert len(copy.heard) == 2


# ---- relayed ------------------------------------------------------------------------------------


def test_relayed_gossip_reaches_all_of_twenty_and_is_heard_once() -> None:
    simulator, wires, ears = net(20, kind=Relays)
    wires.gossip(PEERS[0], VOTES, b"small")
    wires.gossip(PEERS[3], BODIES_TOPIC, bytes(20_000))
    simulator.run(5_000)
    for number, ear in enumerate(ears):
        sizes = sorted(len(record) for _, record in ear.heard)
        assert sizes == ([5] if number == 3 else [20_000] if number == 0 else [5, 20_000])
    assert wires.packets["announce"] and wires.packets["pull"], "large things are pulled"
    assert wires.bytes[BODIES_TOPIC] < 2 * 19 * 20_100, "and hardly sent twice"


def test_what_is_refused_or_ignored_goes_no_further() -> None:
    for verdict in ("reject", "ignore"):
        simulator, wires, ears = net(20, kind=Relays)
        for ear in ears:
            ear.verdict = verdict
        wires.say(PEERS[0], PEERS[1], VOTES, b"wrong")
        simulator.run(5_000)
        assert [number for number, ear in enumerate(ears) if ear.heard] == [1]


BODIES_TOPIC = "messages"


# ---- time ---------------------------------------------------------------------------------------


def test_a_lane_does_one_thing_after_the_other_and_waits_while_it_is_held() -> None:
    simulator = Simulator(Dice(bytes(32)))
    lane = Lane(simulator.after)
    done: list[tuple[str, int]] = []

    def note(what: str) -> Callable[[], None]:
        return lambda: done.append((what, simulator.now_ms))

    lane.order(lambda: 5, note("a"))
    lane.hold(note("held"))
    lane.order(lambda: 3, note("b"))
    simulator.run(50)
    assert done == [("a", 5), ("held", 5)]
    lane.release()
    simulator.run(100)
    assert done[2:] == [("b", 53)]


def test_a_lane_that_is_closed_in_the_middle_of_a_job_begins_no_other() -> None:
    simulator = Simulator(Dice(bytes(32)))
    lane = Lane(simulator.after)
    done: list[str] = []
    lane.order(lambda: 1, lane.close)
    lane.order(lambda: 1, lambda: done.append("after the end"))
    simulator.run(100)
    assert done == []


def test_chance_is_even_enough_and_repeats() -> None:
    one, two = (Chance(Dice(bytes(32))) for _ in range(2))
    throws = [one.below(10) for _ in range(10_000)]
    assert throws == [two.below(10) for _ in range(10_000)]
    assert all(850 <= throws.count(face) <= 1_150 for face in range(10))


def test_a_key_that_nobody_runs_answers_nothing() -> None:
    """It may own slots all the same: whoever mines may mine for it."""
    simulator, wires, ears = net()
    replies: list[bytes] = []
    wires.ask(PEERS[0], Peer(b"\x09" * 32), Ask(1, PEERS[1], POLL, b"?", 500), replies.append)
    assert not simulator.run(1_000, lambda: bool(replies))
    assert ears[0].heard == ears[1].heard == []
