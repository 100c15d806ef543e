"""`node run` as a process: its lines, its locks, its signals, its exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consensus.ids import peer_text
from node.client import Client
from node.errors import Exit
from node.folder import read_endpoints, write_endpoints
from node.keystore import ACCOUNT, PEER, Keystore, public_of, write_plain
from node.process import Start, options_of
from tests.node.gateway_lab import SECRET, lab_spec
from tests.node.process_lab import DEADLINE_S, ended, environment, node_process, write_node

pytestmark = pytest.mark.slow


def test_it_says_listening_ready_and_stopped(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    with node_process(tmp_path, folder) as node:
        listening = node.line()
        assert listening["event"] == "listening"
        assert {"name", "peer", "chain", "height", "api", "fabric", "listen", "pid"} <= set(
            listening
        )
        assert listening["pid"] == node.process.pid
        assert node.line() == {"event": "ready", "name": "n1", "height": 0}
        endpoints = read_endpoints(folder)
        assert endpoints is not None
        assert endpoints["api"] == listening["api"]
        with Client(listening["api"]) as client:
            assert client.ready()
        assert node.stop() == Exit.OK
        assert node.line()["event"] == "stopped"
        assert read_endpoints(folder) is None
    assert not (folder / "lock").exists()


def test_without_json_two_lines_and_an_interrupt_is_a_clean_end(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    process = subprocess.Popen(
        [sys.executable, "-m", "apocryph", "node", "run", str(folder), "--testnet-keys"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening n1 height=0 api=http://127.0.0.1:")
            assert process.stdout.readline() == "ready n1 height=0\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == Exit.OK
            assert process.stdout.read() == ""
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def refused(tmp_path: Path, folder: Path, *flags: str, **more: str) -> tuple[int, str, str]:
    """(exit, code, message) of a node that does not start."""
    done = ended(tmp_path, "node", "run", str(folder), "--json", *flags, **more)
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert not told["ok"]
    (error,) = told["errors"]
    return done.returncode, error["code"], error["message"]


def test_a_testnet_key_is_refused_without_the_flag(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    code, name, _ = refused(tmp_path, folder)
    assert (code, name) == (Exit.CONFIG, "key_testnet_only")


def test_folder_and_key_run_once(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    other = write_node(tmp_path / "other")
    with node_process(tmp_path, folder) as node:
        node.line()
        code, name, message = refused(tmp_path, folder, "--testnet-keys")
        assert (code, name) == (Exit.BUSY, "folder_busy")
        assert str(node.process.pid) in message
        code, name, message = refused(tmp_path, other, "--testnet-keys")
        assert (code, name) == (Exit.BUSY, "key_in_use")
        assert str(node.process.pid) in message


@pytest.mark.parametrize("section", ["network", "api", "fabric"])
def test_a_taken_port_is_exit_8(tmp_path: Path, section: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        folder = write_node(tmp_path / "n1", **{f"{section}__listen": f"127.0.0.1:{port}"})
        done = ended(tmp_path, "node", "run", str(folder), "--json", "--testnet-keys")
        (error,) = json.loads(done.stdout)["errors"]
        assert (done.returncode, error["code"]) == (Exit.BUSY, "port_busy")
        assert (
            f"{section}.listen 127.0.0.1:{port}: in use by process {os.getpid()}"
            in (error["message"])
        )
        assert f"set another {section}.listen in {folder / 'node.toml'}" in error["hint"]
        assert "--port" not in error["hint"]
    assert not (folder / "chain").exists()  # looked at before anything is opened


def test_peers_that_do_not_answer_are_named_and_it_goes_on(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and never listens
        port = silent.getsockname()[1]
        peer, spec = peer_text(public_of(SECRET)), lab_spec()
        folder = write_node(tmp_path / "n1", spec, network__peers=[f"{peer}@127.0.0.1:{port}"])
        (folder / "key.json").unlink()  # a newcomer, who owns nothing
        write_plain(folder / "key.json", bytes((8,)) * 32, name="n1", kind=PEER)
        with node_process(tmp_path, folder) as node:
            api = node.line()["api"]
            waiting = node.line()
            assert waiting["event"] == "waiting"
            assert (waiting["slots_linked"], waiting["slots"]) == (0, 60)
            assert waiting["missing"] == [f"{peer}@127.0.0.1:{port}"]
            with Client(api) as client:
                assert not client.ready()
                assert client.status()["height"] == 0
            assert node.stop() == Exit.OK


def test_an_accounts_key_runs_no_node(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    (folder / "key.json").unlink()
    write_plain(folder / "key.json", SECRET, name="n1", kind=ACCOUNT)
    code, name, message = refused(tmp_path, folder, "--testnet-keys")
    assert (code, name) == (Exit.CONFIG, "key_kind")
    assert "is the key of an account" in message


def test_status_tells_places_and_believes_no_stale_endpoints(tmp_path: Path) -> None:
    folder, killed = write_node(tmp_path / "n1"), write_node(tmp_path / "killed")
    with node_process(tmp_path, folder) as node:
        listening = node.line()
        told = json.loads(ended(tmp_path, "node", "status", str(folder), "--json").stdout)["data"]
        assert {key: told[key] for key in ("peer", "listen", "api", "fabric", "pid")} == {
            key: listening[key] for key in ("peer", "listen", "api", "fabric", "pid")
        }
        assert told["folder"] == str(folder)
        assert (told["catching_up"], told["known_height"]) == (False, 0)
        stale = {**read_endpoints(folder), "peer": peer_text(bytes(32))}  # type: ignore[dict-item]
        write_endpoints(killed, stale)
        done = ended(tmp_path, "node", "status", str(killed), "--json")
        (error,) = json.loads(done.stdout)["errors"]
        assert (done.returncode, error["code"]) == (Exit.UNREACHABLE, "unreachable")
        assert "another peer" in error["message"]


def test_wrong_settings_specs_and_data_are_exit_3(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    with node_process(tmp_path, folder) as node:
        node.line()
        node.stop()
    write_node(folder, lab_spec(nonce=bytes((1,)) * 16))
    assert refused(tmp_path, folder, "--testnet-keys")[:2] == (Exit.CONFIG, "store_other_chain")
    (folder / "spec.cbor").write_bytes(b"\x80")
    assert refused(tmp_path, folder, "--testnet-keys")[:2] == (Exit.CONFIG, "spec")
    with (folder / "node.toml").open("a") as file:
        file.write("segmnts = 4\n")
    code, name, message = refused(tmp_path, folder, "--testnet-keys")
    assert (code, name) == (Exit.CONFIG, "config_unknown_key")
    assert "did you mean" in message
    assert refused(tmp_path, tmp_path / "nowhere")[:2] == (Exit.CONFIG, "config_file")


def test_an_encrypted_key_runs_with_its_password_file(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1", node__password_file="password")
    plain = json.loads((folder / "key.json").read_text())
    (folder / "key.json").unlink()
    Keystore(folder, scrypt_n=2**4).add(
        "key", bytes.fromhex(plain["secret"]), "long enough", kind=PEER
    )
    password = folder / "password"
    password.write_text("long enough\n")
    password.chmod(0o600)
    with node_process(tmp_path, folder) as node:
        assert node.line()["event"] == "listening"
        assert node.stop() == Exit.OK
    password.write_text("something else\n")
    assert refused(tmp_path, folder)[:2] == (Exit.CONFIG, "key_password")


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed, so it cannot stop its child itself."""
    folder = write_node(tmp_path / "n1")
    arguments = [sys.executable, "-m", "apocryph", "node", "run", str(folder)]
    arguments += ["--testnet-keys", "--with-parent", "--json"]
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen({arguments!r}, stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    child = 0
    with parent:
        try:
            assert parent.stdout is not None
            child = int(json.loads(parent.stdout.readline())["data"]["pid"])
            parent.kill()
            parent.wait(30)
            deadline = time.monotonic() + 10
            while _lives(child) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not _lives(child)
        finally:
            parent.kill()
            if child and _lives(child):
                os.kill(child, signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_killed_node_comes_back_with_its_chain(tmp_path: Path) -> None:
    from tests.node.gateway_lab import ALICE, BOB

    folder = write_node(tmp_path / "n1")
    with node_process(tmp_path, folder) as node:
        with Client(node.line()["api"]) as client:
            fields = {"to": bytes(BOB.account), "amount": 5}
            client.send(client.build(ALICE, "token", "Transfer", fields), wait=True)
            before = client.status()
        node.stop(signal.SIGKILL)
    with node_process(tmp_path, folder) as node:
        listening = node.line()
        assert listening["height"] == 1
        with Client(listening["api"]) as client:
            after = client.status()
            assert after["state_root"] == before["state_root"]
            client.send(client.build(ALICE, "token", "Transfer", fields), wait=True)
            assert client.status()["height"] == 2
        assert node.stop() == Exit.OK


def test_one_block_passes_the_fabric_as_the_trace_shows(tmp_path: Path) -> None:
    from tests.node.gateway_lab import ALICE, BOB

    folder = write_node(tmp_path / "n1")
    with node_process(tmp_path, folder, APOCRYPH_TRACE="fabric") as node:
        with Client(node.line()["api"]) as client:
            fields = {"to": bytes(BOB.account), "amount": 5}
            client.send(client.build(ALICE, "token", "Transfer", fields), wait=True)
        node.stop()
        traced = [line.split()[1:3] for line in node.rest().splitlines() if line[:6] == "trace "]
    assert traced.count(["call", "executor.Build"]) == 1
    for stream in ("blocks", "votes", "receipts", "events"):
        assert ["append", stream] in traced


def test_the_journal_replays_to_the_same_effects(tmp_path: Path) -> None:
    from tests.node.gateway_lab import ALICE, BOB

    folder = write_node(tmp_path / "n1", journal__keep="full")
    with node_process(tmp_path, folder) as node:
        with Client(node.line()["api"]) as client:
            fields = {"to": bytes(BOB.account), "amount": 5}
            for _ in range(3):
                client.send(client.build(ALICE, "token", "Transfer", fields), wait=True)
        node.stop()
    done = ended(tmp_path, "node", "replay", str(folder), "--json")
    data = json.loads(done.stdout)["data"]
    assert done.returncode == Exit.OK
    assert (data["identical"], data["height"]) == (True, 3)
    assert data["events"] > 10


def test_the_token_file_is_read_and_must_be_private(tmp_path: Path) -> None:
    from node.config import load
    from node.errors import ConfigError
    from node.keystore import load as load_key

    folder = write_node(tmp_path / "n1", api__token_file="token", api__listen="0.0.0.0:0")
    token = folder / "token"
    token.write_text("a token of more than sixteen\n")
    start = Start(load(folder, environ={}))
    key = load_key(folder / "key.json", allow_testnet=True)
    token.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        options_of(start, lab_spec(), key)
    token.chmod(0o600)
    assert options_of(start, lab_spec(), key).api_token == "a token of more than sixteen"
    token.write_text("short\n")
    with pytest.raises(ConfigError, match="less than 16"):
        options_of(start, lab_spec(), key)


def test_too_few_open_files_are_said_before_anything_is_opened(tmp_path: Path) -> None:
    folder = write_node(tmp_path / "n1")
    code = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_NOFILE, (256, 256));"
        "from apocryph.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "node", "run", str(folder), "--testnet-keys", "--json"]
    env = environment(tmp_path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == Exit.CONFIG, done.stderr
    assert "open_files" in done.stdout + done.stderr
    assert "ulimit -n" in done.stdout + done.stderr
    assert not (folder / "chain").exists()
