"""Testnets of real processes, by the command line: up, until, status, down, and what goes wrong."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.testnet.nets import Home, alive, api_status, wait_until

pytestmark = pytest.mark.slow
SAME = ("height", "block", "state_root", "certificates_verified")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home(tmp_path) as found:
        yield found


def same(nodes: list[dict[str, Any]]) -> bool:
    return len({tuple([node[key] for key in SAME]) for node in nodes}) == 1


@pytest.mark.parametrize(("count", "more"), [(1, ()), (4, ("--demo", "pingpong"))])
def test_until_a_height(home: Home, count: int, more: tuple[str, ...]) -> None:
    words = ("up", "-n", str(count), "--until", "height=20", "--port", "0", *more)
    done = home.testnet(*words)
    nodes = done.data["nodes"]
    assert [node["name"] for node in nodes] == [f"n{i + 1}" for i in range(count)]
    assert all(node["height"] == 20 for node in nodes)
    assert all(node["certificates_verified"] == 20 for node in nodes)
    assert same(nodes)
    assert [node["slots"] for node in nodes] == [600 // count] * count
    assert home.processes() == []
    assert not (home.folder() / "supervisor.pid").exists()


def test_detached_status_down_resume(home: Home) -> None:
    up = home.up(4, "--until", "height=3")
    assert up["running"]
    nodes = home.nodes()
    assert {node["state"] for node in nodes} == {"ready"}
    assert not any(node["catching_up"] for node in nodes)
    for node in nodes:
        told = api_status(node)
        assert (node["peer"], node["listen"]) == (told["peer"], told["listen"])
        assert node["folder"] == str(home.folder() / node["name"])
    assert all(node["height"] >= 3 for node in nodes)
    wait_until(lambda: same(home.nodes()), "all have the same tip")
    before = home.nodes()[0]
    processes = home.processes()
    assert len(processes) == 5

    second = home.testnet("up", "-n", "4")
    assert second.code == 8
    assert second.error["code"] == "running"
    assert home.testnet("rm").code == 8

    started = time.monotonic()
    assert home.testnet("down").data["stopped"] is True
    assert time.monotonic() - started <= 3.0
    assert not any(alive(process) for process in processes)
    assert not (home.folder() / "supervisor.pid").exists()
    assert not list(home.folder().glob("n*/lock"))
    assert home.testnet("status").code == 4
    assert home.testnet("down").data["stopped"] is False

    other = home.testnet("up", "-n", "5")
    assert (other.code, other.error["code"]) == (2, "usage")
    home.testnet("up", "--detach", "--port", "0")
    after = home.nodes()
    assert after[0]["height"] >= before["height"]
    assert [node["name"] for node in after] == ["n1", "n2", "n3", "n4"]

    home.testnet("down")
    assert home.testnet("rm").data["removed"]
    assert not home.folder().exists()
    assert home.testnet("down").code == 1


def test_busy_port_names_its_owner(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = home.testnet("up", "-n", "1", "--detach", "--port", str(port))
    assert done.code == 8
    assert done.error["code"] == "port_busy"
    assert f"process {os.getpid()}" in done.error["message"]
    assert "--port" in done.error["hint"]
    assert home.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_nothing(home: Home, number: signal.Signals) -> None:
    process = home.start("testnet", "up", "-n", "2", "--net", "t", "--port", "0")
    assert process.stdout is not None
    assert "ready: 2 validators" in process.stdout.readline()
    validators = home.processes()
    assert len(validators) == 3
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not any(alive(one) for one in validators)
    assert not (home.folder() / "supervisor.pid").exists()
    assert not (home.folder() / "supervisor.sock").exists()
    assert not list(home.folder().glob("n*/lock"))


def test_ctrl_c_while_it_starts(home: Home) -> None:
    process = home.start("testnet", "up", "-n", "2", "--net", "t", "--port", "0")
    wait_until(lambda: len(home.processes()) == 3, "the validators are started")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) in (0, 130)
    assert home.processes() == []
    assert not (home.folder() / "supervisor.pid").exists()


def test_validators_die_with_their_parent(home: Home) -> None:
    home.up(2)
    owner = home.owner()
    assert owner is not None
    home.testnet("node", "pause", "n2")
    os.kill(owner, signal.SIGKILL)
    wait_until(lambda: home.processes() == [], "the validators are gone")
    assert home.testnet("status").code == 4
    home.up(2)  # nothing stands in the way of the next
    assert len(home.nodes()) == 2


def test_kill_and_restart_while_messages_flow(home: Home) -> None:
    home.up(4, "--demo", "pingpong")
    nodes = {node["name"]: node for node in home.nodes()}
    killed = nodes["n2"]["pid"]
    assert home.testnet("node", "kill", "n2").data["node"]["state"] == "stopped"
    assert not alive(killed)
    row = home.nodes()[1]
    assert (row["state"], row["height"], row["pid"]) == ("stopped", None, None)
    height = api_status(nodes["n1"])["height"]
    wait_until(lambda: api_status(nodes["n1"])["height"] >= height + 5, "the others go on")

    restarted = time.monotonic()
    assert home.testnet("node", "restart", "n2").data["node"]["state"] in ("listening", "ready")
    goal = api_status(nodes["n1"])["height"]
    wait_until(lambda: api_status(home.nodes()[1])["height"] >= goal, "n2 is back", 20)
    assert time.monotonic() - restarted <= 20
    assert block_of(home.nodes()[1], goal) == block_of(nodes["n1"], goal)


def test_until_waits_for_a_validator_that_comes_back(home: Home) -> None:
    words = ("up", "-n", "4", "--demo", "pingpong", "--until", "height=25", "--port", "0")
    process = home.start("testnet", *words, "--net", "t", "--json")

    def moving() -> bool:
        done = home.testnet("status")
        return done.code == 0 and all((node["height"] or 0) > 0 for node in done.data["nodes"])

    wait_until(moving, "all have a height")
    home.testnet("node", "kill", "n2").data  # noqa: B018  it succeeded
    height = home.nodes()[0]["height"]
    wait_until(lambda: home.nodes()[0]["height"] > height, "the others go on")
    home.testnet("node", "restart", "n2").data  # noqa: B018
    out, err = process.communicate(timeout=60)
    nodes = json.loads(out)["data"]["nodes"]
    assert process.returncode == 0, err
    assert [node["height"] for node in nodes] == [25] * 4
    assert same(nodes)


def block_of(node: dict[str, Any], height: int) -> tuple[str, str]:
    with urlopen(f"{node['api']}/v1/blocks/{height}", timeout=10) as answer:
        found = json.load(answer)
    return found["block"], found["state_root"]


def test_one_validator_by_command(home: Home) -> None:
    home.up(1)
    wrong = home.testnet("node", "resume", "n1")
    assert (wrong.code, wrong.error["code"]) == (2, "usage")
    unknown = home.testnet("node", "kill", "n9")
    assert (unknown.code, unknown.error["code"]) == (1, "not_found")
    assert home.testnet("node", "pause", "n1").data["node"]["state"] == "paused"
    assert home.nodes()[0]["height"] is None
    assert home.testnet("node", "resume", "n1").data["node"]["state"] == "ready"
    assert home.nodes()[0]["height"] == 0


def test_gateway_moves_to_a_live_validator(home: Home) -> None:
    api = home.up(4)["api"]
    names = []
    for killed in ("n1", "n2"):
        names.append(api_status({"api": api})["name"])
        home.testnet("node", "kill", killed)
    names.append(api_status({"api": api})["name"])
    assert names == ["n1", "n2", "n3"]


def test_a_validator_that_cannot_start_is_named(home: Home) -> None:
    home.up(2, "--until", "height=1")
    home.testnet("down")
    record = home.folder() / "n2" / "sign.db"
    record.write_bytes(bytes(len(record.read_bytes())))
    done = home.testnet("up", "--detach", "--port", "0")
    assert (done.code, done.error["code"]) == (7, "sign_corrupt")
    assert home.processes() == []


def test_two_testnets_side_by_side(home: Home) -> None:
    home.up(1, net="one")
    home.up(1, net="two")
    listed = home.run("testnet", "ls", "--json").data["testnets"]
    assert {(one["name"], one["running"]) for one in listed} == {("one", True), ("two", True)}
    home.testnet("down", net="one")
    assert home.nodes("two")[0]["state"] == "ready"
    accounts = home.testnet("accounts", net="two").data["accounts"]
    assert accounts[0]["name"] == "alice"
    assert len(accounts) == 8
    assert {int(one["balance"]) for one in accounts} == {10**12}
    lines = home.testnet("logs", "n1", "-n", "1", net="two").stdout.splitlines()
    assert len(lines) == 1
    assert '"cursor":"n1:' in lines[0]


@pytest.mark.long
@pytest.mark.parametrize("count", [7, 16])
def test_more_validators_start(home: Home, count: int) -> None:
    nodes = home.testnet("up", "-n", str(count), "--until", "height=3", "--port", "0").data["nodes"]
    assert len(nodes) == count
    assert same(nodes)


@pytest.mark.long
def test_heights_go_on_with_one_of_four_paused(home: Home) -> None:
    home.up(4, "--demo", "pingpong")
    nodes = home.nodes()
    home.testnet("node", "pause", "n3")
    first, started = api_status(nodes[0])["height"], time.monotonic()
    wait_until(lambda: time.monotonic() >= started + 60, "a minute", 70)
    assert api_status(nodes[0])["height"] - first >= 20
    home.testnet("node", "resume", "n3")
    goal = api_status(nodes[0])["height"]
    wait_until(lambda: api_status(nodes[2])["height"] >= goal, "the paused one is back", 20)


def test_detach_leaves_the_terminal(home: Home) -> None:
    """The daemon keeps no output of the command open, so a pipe behind it ends."""
    process = home.start("testnet", "up", "-n", "1", "--detach", "--port", "0", "--net", "t")
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        raise AssertionError("somebody holds the pipes") from None
    assert process.returncode == 0


def test_down_while_it_starts(home: Home) -> None:
    """`up` says who ended it, and `down` waits until nothing of it is left."""
    process = home.start("testnet", "up", "--detach", "--port", "0", "--json", "--net", "t")
    wait_until(lambda: (home.folder() / "supervisor.pid").exists(), "the supervisor starts")
    assert home.testnet("down").code == 0
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(stdout.splitlines()[-1])["errors"][0]["code"] == "stopped"
    assert home.processes() == []


def test_up_ends_when_every_validator_failed(home: Home) -> None:
    process = home.start("testnet", "up", "-n", "2", "--net", "t", "--port", "0")
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    for pid in home.pids().values():
        os.kill(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 4
    assert "ended by signal 9" in err
    assert home.processes() == []


def test_a_stranger_joins_with_a_validator_of_his_own(home: Home) -> None:
    """As the README says it, with one file and a key of his own."""
    home.up(1, "--demo", "pingpong", "--until", "height=4")
    file, folder, password = home.path / "chain.json", home.path / "mine", home.path / "password"
    password.write_text("long enough\n")
    password.chmod(0o600)
    shown = home.run("chain", "show", "--net", "t", "--out", str(file), "--json").data
    places = [word for name in ("listen", "api", "fabric") for word in (f"--{name}", "127.0.0.1:0")]
    words = ("--join", str(file), "--password-file", str(password), *places)
    made = home.run("node", "init", str(folder), *words, "--json").data
    process = home.start("node", "run", str(folder), "--password-file", str(password), "--json")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())["data"]
    assert (told["event"], told["peer"]) == ("listening", made["peer"])
    while told["event"] != "ready":
        told = json.loads(process.stdout.readline())["data"]
        assert told["event"] in ("waiting", "catching_up", "ready")
    status = home.run("node", "status", str(folder), "--json").data
    assert status["chain"] == shown["chain"]
    assert status["height"] >= int(shown["checkpoint"].partition(":")[0]) >= 4
    assert (status["catching_up"], status["slots"]) == (False, 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stderr is not None and "Traceback" not in process.stderr.read()
