"""Processes that read `blocks` and `votes` of a running node: killed, away, too late, stopped."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.cluster import COMMAND, Cluster, environment, until

ROOT = Path(__file__).parents[2]
KEPT_HEIGHTS = 256
SLACK = 64  # heights that wait for the next trim
NODE = "n2"
OTHER = "n3"  # a node without readers, to compare with
MIB = 1 << 20
READERS = 8  # of each stream in one stopped process
GROWN_MAX = 12 * MIB  # what waits for them; two minutes of heights for all are 40 MiB
RATE_LEAST = 0.5  # of the heights per second before
MOMENTS_S = (0.0, 1.2)  # a reader lives so long, usually after its first items
EARLY_DEATHS = 0.25  # of the readers: may be killed while they start


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("e2e"), "-n", 4, "--slots", 40) as cluster:
        cluster.play(delay_ms=0)  # heights as fast as they can
        yield cluster


# ---- a reader that is killed ---------------------------------------------------------------------


class Tail:
    """`apocryph fabric tail STREAM` in a process of its own, killed at the end."""

    def __init__(self, cluster: Cluster, out: Path, stream: str, *words: object) -> None:
        command = [*COMMAND, "fabric", "tail", stream, *map(str, words)]
        command += ["--net", cluster.name, "--node", NODE, "--json"]
        self._out = out
        with out.open("wb") as output, out.with_suffix(".err").open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=errors, env=environment(cluster.home)
            )

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def lines(self) -> list[dict[str, Any]]:
        """What it has said in whole lines; the last may be cut off by the kill."""
        whole = self._out.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def live_for(self, seconds: float) -> None:
        """Let it run for a while; it does not end by itself."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError((code, self._out.with_suffix(".err").read_text()))


class Runs(NamedTuple):
    """Offsets that the readers saw, one list a life."""

    blocks: list[list[int]]
    votes: list[list[int]]


def dense(offsets: list[int]) -> bool:
    return offsets == list(range(offsets[0], offsets[0] + len(offsets))) if offsets else True


def read_and_kill(net: Cluster, tmp_path: Path, dice: random.Random, kills: int, away: int) -> Runs:
    """Both readers die together, `kills` times, each time away for up to `away` heights; then
    once more until they have seen what was there. `blocks` goes on at the position that its name
    has at the node, `votes` at the one that we remember."""
    runs, seen, following = Runs([], []), 0, 1
    for life in range(kills + 1):
        named = ("--name", "killed", "--from", "oldest")
        with (
            Tail(net, tmp_path / f"blocks{life}", "blocks", *named) as blocks,
            Tail(net, tmp_path / f"votes{life}", "votes", "--from", following) as votes,
        ):
            if life == kills:
                top = net.height(NODE)
                until(lambda b=blocks, h=top: keys(b)[-1:] >= [h], "the reader caught up")
            # Some die before they have read anything; never so many that they are away too long.
            if life == kills or net.height(NODE) - seen > away or dice.random() > EARLY_DEATHS:
                until(lambda b=blocks, v=votes: b.lines() and v.lines(), "first items")
            blocks.live_for(dice.uniform(*MOMENTS_S))
        assert not [line for one in (blocks, votes) for line in one.lines() if "truncated" in line]
        assert keys(blocks) == [line["item"]["height"] for line in blocks.lines()]
        runs.blocks.append([line["offset"] for line in blocks.lines()])
        runs.votes.append([line["offset"] for line in votes.lines()])
        seen = max([seen, *keys(blocks)])
        following = max([following, *[offset + 1 for offset in runs.votes[-1]]])
        if life < kills:
            net.above(seen + dice.randint(0, away) - 1, NODE)
    return runs


def keys(tail: Tail) -> list[int]:
    return [line["key"] for line in tail.lines()]


def check_runs(runs: Runs) -> None:
    """Nothing is missing: by name at least once, by a remembered offset exactly once."""
    seen = 0
    for offsets in runs.blocks:
        assert dense(offsets), offsets
        if offsets:
            assert offsets[0] <= seen + 1, f"{seen + 1}..{offsets[0] - 1} are missing"
            seen = max(seen, offsets[-1])
    assert runs.blocks[-1][0] > 1, "its name has no position"
    assert dense([offset for offsets in runs.votes for offset in offsets])
    assert runs.votes[-1], "no votes at all"


@pytest.mark.slow
def test_a_reader_that_is_killed_goes_on_where_it_was(net, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    check_runs(read_and_kill(net, tmp_path, random.Random(seed), kills=3, away=20))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_reader_that_is_killed_twenty_times_goes_on_where_it_was(net, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    check_runs(read_and_kill(net, tmp_path, random.Random(seed), kills=20, away=100))


# ---- a reader that is stopped --------------------------------------------------------------------


class Window(NamedTuple):
    """What two nodes did in a while."""

    heights_per_s: float
    grown: int  # bytes of the node with readers, above those of the one without


def anonymous_bytes(pid: int) -> int:
    """Memory of a process without the pages of its files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no RssAnon")


def watch(net: Cluster, seconds: float) -> Window:
    """Let the chain go on for a while."""
    pids = [net.node(name)["pid"] for name in (NODE, OTHER)]
    before = [anonymous_bytes(pid) for pid in pids]
    began, first = time.monotonic(), net.height(OTHER)
    top = first
    while time.monotonic() < began + seconds:
        top = net.above(top, OTHER)
    rate = (top - first) / (time.monotonic() - began)
    grown = [anonymous_bytes(pid) - bytes_ for pid, bytes_ in zip(pids, before, strict=True)]
    return Window(rate, grown[0] - max(0, grown[1]))


def stop_readers(net: Cluster, tmp_path: Path, before_s: float, stopped_s: float) -> None:
    out = tmp_path / "readers"
    command = [sys.executable, "-m", "tests.e2e.stopped_readers", net.node(NODE)["fabric"]]
    with out.open("wb") as output:
        readers = subprocess.Popen([*command, str(READERS)], stdout=output, cwd=ROOT)
    try:
        until(lambda: "ready" in out.read_text(), "all readers read")
        before = watch(net, before_s)
        readers.send_signal(signal.SIGSTOP)
        said = len(out.read_text().splitlines())
        stopped = watch(net, stopped_s)
        print(f"before {before}, while stopped {stopped}")
        assert len(out.read_text().splitlines()) == said, "the reader was not stopped"
        assert stopped.heights_per_s >= RATE_LEAST * before.heights_per_s, (before, stopped)
        assert stopped.grown <= GROWN_MAX, stopped
        top = net.height(NODE)
        readers.send_signal(signal.SIGCONT)
        until(lambda: last_offset(out) > top, f"the reader goes on beyond {top}")
    finally:
        readers.kill()
        readers.wait()


def last_offset(out: Path) -> int:
    whole = out.read_text().rpartition("\n")[0]
    found = [int(line) for line in whole.splitlines() if line.isdigit()]
    return found[-1] if found else 0


@pytest.mark.slow
def test_a_stopped_reader_changes_nothing_for_the_node(net, tmp_path):
    stop_readers(net, tmp_path, before_s=2.5, stopped_s=6.0)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_reader_stopped_for_minutes_changes_nothing_for_the_node(net, tmp_path):
    stop_readers(net, tmp_path, before_s=30.0, stopped_s=120.0)


# ---- a reader that comes too late ----------------------------------------------------------------


LATE = ("fabric", "tail", "blocks", "--node", NODE, "--name", "late")


@pytest.fixture(scope="module", autouse=True)
def late(net):
    """The last offset that a reader saw before it went away, at the start of all tests here."""
    answer = net.command(*LATE, "--from", "oldest", "--count", 2)
    assert answer.code == 0, answer
    offsets = [json.loads(line)["offset"] for line in answer.out.splitlines()]
    assert offsets == [1, 2]
    return offsets[-1]


@pytest.mark.slow
def test_a_reader_that_was_away_too_long_is_told_truncated(net, late):
    net.above(late + KEPT_HEIGHTS + 20, NODE)
    for words in (LATE, (*LATE[:-2], "--from", late + 1)):  # by its name, by its own memory
        answer = net.command(*words, "--count", 3)
        assert answer.code == 0, answer
        told, *items = [json.loads(line) for line in answer.out.splitlines()]
        assert told["truncated"] is True and told["first"] > late + 1, answer.out
        offsets = [item["offset"] for item in items]
        assert offsets[0] == told["first"] and dense(offsets), "it goes on at what there is"
    (blocks,) = [one for one in net.ok("fabric", "ls")["streams"] if one["name"] == "blocks"]
    assert KEPT_HEIGHTS <= blocks["last"] - blocks["first"] + 1 <= KEPT_HEIGHTS + SLACK, blocks
