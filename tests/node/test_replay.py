"""`node replay`: a journal's events into restored cores give the effects that it holds."""

from pathlib import Path

import pytest

from consensus.ids import Now
from node import codec
from node.core import NodeCore
from node.errors import NotFound
from node.journal import Journal, Keep
from node.replay import CoreJournal, Difference, digest, replay
from testnet.sim.host import Host, Recorded
from testnet.sim.scenario import Machines
from tests.sim.trace import traced


@pytest.fixture(scope="module")
def host() -> Host:
    """A host after some seconds of rough weather, with all that it handled in its last life."""
    _, scene = traced(7, seconds=10.0)
    return scene.hosts[0]


def journalled(folder: Path, host: Host, *, segment_bytes: int = 20_000) -> list[Recorded]:
    """Run a core through the host's events again, this time with a journal on disk."""
    assert host.records is not None
    core = fresh(host)
    journal = Journal(
        folder,
        code_version="test",
        snapshot=core.snapshot,
        keep=Keep.FULL,
        segment_bytes=segment_bytes,
    )
    port = CoreJournal(journal)
    for step in host.records:
        port.append(step.now, step.event, core.handle(step.event, step.now))
    journal.close()
    return host.records


def fresh(host: Host) -> NodeCore:
    """Any core will do: a journal tells what one core did, whatever it was."""
    twin = Host(host.world, host.peer, wires=host.wires, dice=host.dice, machines=Machines())
    twin.start()
    assert twin.core is not None
    return twin.core


def test_a_journal_of_several_segments_replays_identically(tmp_path: Path, host: Host) -> None:
    steps = journalled(tmp_path, host)
    seen: list[int] = []
    found = replay(tmp_path, seen.append)
    assert found.difference is None
    assert found.segments >= 2, "each from its own head"
    assert (found.events, seen[-1]) == (len(steps), len(steps))
    assert found.effects > 0 and found.height >= 1


def test_a_difference_is_named_by_its_event(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    journalled(tmp_path, host)
    right, place = NodeCore.handle, 120
    handled = [0]

    def wrong(self: NodeCore, event: object, now: Now) -> list[object]:
        handled[0] += 1
        effects = right(self, event, now)  # type: ignore[arg-type]
        return [] if handled[0] > place and effects else list(effects)

    monkeypatch.setattr(NodeCore, "handle", wrong)
    found = replay(tmp_path)
    assert isinstance(found.difference, Difference)
    assert found.difference.sequence >= place and found.difference.effects == ()


def test_an_empty_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        replay(tmp_path)


def test_the_digest_is_of_all_effects_in_their_order(host: Host) -> None:
    assert host.records is not None
    effects = next(step.effects for step in host.records if len(step.effects) > 1)
    assert digest(effects) == digest(codec.from_bytes(codec.to_bytes(effects)))
    assert digest(effects) != digest(effects[::-1]) != digest(effects[1:])
