"""Configuration, locks, keys and stores that are not as they should be: `node run` says what it is.

Exit codes of the experience page, no traceback, no hint to delete anything.
"""

from __future__ import annotations

import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from consensus.encoding import encode
from node.keystore import Keystore, write_new
from tests.hostile.hostilelab import make_spec, secret
from tests.hostile.noderun import Ended, refused, running, transfers, write_net
from tests.node.store_flips import pages

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of one validator that has decided some heights; tests work on copies."""
    home = Path(tmp_path_factory.mktemp("lived"))
    spec, [folder] = write_net(home, ["solo"])
    with running(home, folder) as node:
        node.listening()
        for number in range(4):
            height = node.status()["height"]
            assert node.post(transfers(spec, 100 * number, 60, height)) == 60
            assert node.status(above=height)["height"] > height
        assert node.stop() == 0
    return home


@pytest.fixture
def folder(lived: Path, home: Path) -> Path:
    shutil.copytree(lived / "solo", home / "solo")
    return home / "solo"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# -- configuration ---------------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_with_a_suggestion(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    edit(folder / "node.toml", "[network]", "[network]\nlisen = '127.0.0.1:1'")
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "config_unknown_key")
    assert "lisen" in ended.error["message"] and "listen" in ended.error["message"]


def test_impossible_parameters_name_the_inequality(home: Path) -> None:
    spec, [folder] = write_net(home, ["solo"])
    k, wrong = spec.parameters.k, spec.parameters.k // 2
    raw = spec.raw
    name = encode("alpha_preference")
    if name in raw:  # a map: the value follows its name
        at = raw.index(name) + len(name)
    else:
        pair = encode(k) + encode(spec.parameters.alpha_preference)
        at = raw.index(pair) + len(encode(k))
    (folder / "spec.cbor").write_bytes(raw[:at] + encode(wrong) + raw[at + 1 :])
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "spec")
    assert "alpha_preference" in ended.error["message"], ended.error
    assert "<" in ended.error["message"] or "≤" in ended.error["message"], ended.error


@pytest.mark.long
@pytest.mark.parametrize("raw", [b"", bytes(2_000_000)], ids=["empty", "huge"])
def test_a_spec_that_is_none(home: Path, raw: bytes) -> None:
    _, [folder] = write_net(home, ["solo"])
    (folder / "spec.cbor").write_bytes(raw)
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "spec")


@pytest.mark.parametrize("setting", ["network.listen", "api.listen", "fabric.listen"])
def test_a_busy_port(home: Path, setting: str) -> None:
    _, [folder] = write_net(home, ["solo"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        section, key = setting.split(".")
        lines, current = [], ""
        for line in (folder / "node.toml").read_text().splitlines():
            current = line.strip("[]") if line.startswith("[") else current
            mine = current == section and line.startswith(f"{key} =")
            lines.append(f'{key} = "{place}"' if mine else line)
        (folder / "node.toml").write_text("\n".join(lines))
        ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (8, "port_busy")
    assert place in ended.error["message"], ended.error


# -- locks and keys --------------------------------------------------------------------------------


def test_a_second_run_of_a_folder_names_the_first(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    with running(home, folder) as node:
        node.listening()
        ended = refused(home, folder)
        assert (ended.code, ended.error["code"]) == (8, "folder_busy")
        assert str(node.child.pid) in ended.error["message"]
        assert node.status()["height"] == 0  # and the first goes on
        assert node.stop() == 0
    with running(home, folder) as node:
        node.listening()


@pytest.mark.long
def test_a_killed_run_leaves_no_lock(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    with running(home, folder) as node:
        node.listening()
        node.kill()
    with running(home, folder) as node:
        node.listening()


def test_one_key_in_two_folders_runs_once(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    other = home / "other"
    shutil.copytree(folder, other)
    text = (other / "node.toml").read_text()
    lines = [
        'listen = "127.0.0.1:0"' if line.startswith("listen =") else line
        for line in text.splitlines()
    ]
    (other / "node.toml").write_text("\n".join(lines))
    with running(home, folder) as node:
        node.listening()
        ended = refused(home, other)
        assert (ended.code, ended.error["code"]) == (8, "key_in_use")
        assert str(node.child.pid) in ended.error["message"]


def test_a_key_that_others_can_read(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    (folder / "key.json").chmod(0o644)
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "key_readable")


def test_a_wrong_password(home: Path) -> None:
    _, [folder] = write_net(home, ["solo"])
    keys = Keystore(home / "keys", scrypt_n=2**12)
    keys.add("sealed", secret("solo"), "the right password", kind="peer")
    (folder / "key.json").unlink()
    write_new(folder / "key.json", keys.export("sealed"))
    password = home / "password"
    password.write_text("the wrong password\n")
    password.chmod(0o600)
    edit(folder / "node.toml", "[node]", f'[node]\npassword_file = "{password}"')
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "key_password")
    password.write_text("the right password\n")
    with running(home, folder) as node:
        node.listening()


# -- stores ----------------------------------------------------------------------------------------


def test_another_chains_data(home: Path, folder: Path) -> None:
    (folder / "spec.cbor").write_bytes(make_spec(["solo"], name="newer").raw)
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (3, "store_other_chain"), ended.error


def test_a_missing_sign_record(home: Path, folder: Path) -> None:
    kept = (folder / "sign.db").rename(home / "kept")
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (7, "sign_missing"), ended.error
    assert not (folder / "sign.db").exists()
    kept.rename(folder / "sign.db")
    with running(home, folder) as node:
        node.listening()


def test_a_corrupt_sign_record(home: Path, folder: Path) -> None:
    path = folder / "sign.db"
    raw = bytearray(path.read_bytes())
    raw[30] ^= 1
    path.write_bytes(raw)  # one copy: the other is whole
    with running(home, folder) as node:
        height = node.listening().status()["height"]
        assert height >= 4
        node.stop()
    for place in (30, len(raw) // 2 + 30):
        raw[place] ^= 64
    path.write_bytes(raw)
    ended = refused(home, folder)
    assert (ended.code, ended.error["code"]) == (7, "sign_corrupt"), ended.error


def flipped(store: Path, kind: str, dice: random.Random) -> Iterator[bytes]:
    """The file with one bit of one page of that class changed, a few times."""
    raw = store.read_bytes()
    numbers = pages(raw)[kind]
    for _ in range(2 if numbers else 0):
        place = dice.choice(numbers) * 4096 + dice.randrange(16, 120)
        changed = bytearray(raw)
        changed[place] ^= 1 << dice.randrange(8)
        yield bytes(changed)


def outcome(home: Path, folder: Path) -> Ended | None:
    """How it refused to start; null where it started, with what it had decided."""
    with running(home, folder) as node:
        try:
            found = node.listening().status()
        except Ended as ended:
            return ended
        assert found["height"] >= 4
    return None


@pytest.mark.long
@pytest.mark.parametrize("store", ["chain", "fabric"])
@pytest.mark.parametrize("kind", ["meta", "branch", "leaf", "overflow"])
def test_a_flipped_byte_in_each_class_of_page(
    home: Path, folder: Path, store: str, kind: str
) -> None:
    """Found (exit 7), or in a place that holds nothing: then it runs on with the same state."""
    data = folder / store / "data.mdb"
    whole, results = data.read_bytes(), []
    for changed in flipped(data, kind, random.Random(f"{store} {kind}")):
        data.write_bytes(changed)
        ended = outcome(home, folder)
        if ended is not None:
            assert (ended.code, ended.error["code"]) == (7, "store_corrupt"), ended.error
            assert str(folder / store) in ended.error["message"]
        results.append(0 if ended is None else 7)
        assert results[-1] == 0 or data.read_bytes() == changed, "a refusal changes nothing"
        data.write_bytes(whole)
    with running(home, folder) as node:
        assert node.listening().status()["height"] >= 4
