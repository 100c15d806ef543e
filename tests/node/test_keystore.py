"""Keys on disk: EIP-2335, plain testnet keys, modes, passwords, one process a key."""

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consensus.ids import account_text, hash_text, peer_text
from node import keystore as keystore_module
from node.errors import (
    Exit,
    FileUnusable,
    KeyExists,
    KeyFileError,
    KeyInUse,
    KeyMissing,
    KeyPasswordWrong,
    KeyReadable,
    KeyTestnetOnly,
)
from node.keystore import (
    ACCOUNT,
    PEER,
    Keystore,
    entry_of,
    load,
    lock_key,
    public_of,
    seal,
    unseal,
    write_plain,
)

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "eip2335.json").read_text())["cases"]
SECRET = bytes(range(32))
PASSWORD = "correct horse"
QUICK = 2**4  # scrypt's n: nothing is protected here


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "keys", scrypt_n=QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_official_keystores_open(case: dict[str, Any]) -> None:
    assert unseal(case["keystore"], case["password"]).hex() == case["secret"]
    with pytest.raises(KeyPasswordWrong):
        unseal(case["keystore"], case["password"] + "!")


def test_a_password_is_normalized_and_loses_control_codes() -> None:
    sealed = seal(SECRET, "ﬁve\x00 words\x7f", name="a", kind=ACCOUNT, scrypt_n=QUICK)
    assert unseal(sealed, "five words") == SECRET


def test_a_key_comes_back_with_its_password(keystore: Keystore) -> None:
    made = keystore.add("alice", SECRET, PASSWORD)
    found = keystore.load("alice", lambda: PASSWORD)
    assert (found.secret, found.public, found.kind) == (SECRET, public_of(SECRET), ACCOUNT)
    assert not found.testnet_only
    assert found.text == made.text == account_text(public_of(SECRET))
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert SECRET.hex() not in made.path.read_text()
    assert [path.name for path in keystore.folder.iterdir()] == ["alice.json"]


def test_entries_need_no_password_and_new_keys_differ(keystore: Keystore) -> None:
    keystore.new("b", PASSWORD, kind=PEER)
    keystore.new("a", PASSWORD)
    first, second = keystore.entries()
    assert (first.name, first.kind, second.name, second.kind) == ("a", ACCOUNT, "b", PEER)
    assert second.text == peer_text(second.public)
    assert first.public != second.public
    assert Keystore(keystore.folder / "nothing").entries() == []


def test_a_wrong_password_is_refused_with_the_reason(keystore: Keystore) -> None:
    keystore.add("alice", SECRET, PASSWORD)
    with pytest.raises(KeyPasswordWrong, match="does not open") as caught:
        keystore.load("alice", lambda: "wrong password")
    assert caught.value.exit == Exit.CONFIG
    with pytest.raises(KeyPasswordWrong, match="no password was given"):
        keystore.load("alice", None)


def test_a_short_password_and_a_taken_name_are_refused(keystore: Keystore) -> None:
    with pytest.raises(KeyPasswordWrong, match="less than 8"):
        keystore.new("alice", "short")
    keystore.add("alice", SECRET, PASSWORD)
    with pytest.raises(KeyExists):
        keystore.new("alice", PASSWORD)
    assert keystore.load("alice", lambda: PASSWORD).secret == SECRET


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65, "a b"])
def test_a_name_is_a_plain_file_name(keystore: Keystore, name: str) -> None:
    with pytest.raises(KeyFileError, match="no name"):
        keystore.new(name, PASSWORD)


def test_a_missing_key_is_named(keystore: Keystore) -> None:
    with pytest.raises(KeyMissing, match="'bob'"):
        keystore.load("bob", lambda: PASSWORD)
    with pytest.raises(KeyMissing, match="'bob'"):
        keystore.export("bob")


def test_an_export_is_the_encrypted_keystore(keystore: Keystore) -> None:
    keystore.add("alice", SECRET, PASSWORD)
    assert unseal(json.loads(keystore.export("alice")), PASSWORD) == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o777])
def test_a_key_that_others_can_read_is_refused(keystore: Keystore, mode: int) -> None:
    path = keystore.add("alice", SECRET, PASSWORD).path
    path.chmod(mode)
    with pytest.raises(KeyReadable, match=f"{mode:04o}") as caught:
        keystore.load("alice", lambda: PASSWORD)
    assert caught.value.hint == f"chmod 600 {path}"
    assert caught.value.exit == Exit.CONFIG


def test_a_testnet_key_is_marked_and_refused_where_it_must_be(tmp_path: Path) -> None:
    path = tmp_path / "n1" / "key.json"
    write_plain(path, SECRET, name="n1", kind=PEER)
    assert json.loads(path.read_text())["testnet-only"] is True
    assert path.stat().st_mode & 0o777 == 0o600
    found = load(path, allow_testnet=True)
    assert (found.name, found.secret, found.kind, found.testnet_only) == ("n1", SECRET, PEER, True)
    assert entry_of(path).testnet_only
    with pytest.raises(KeyTestnetOnly) as caught:
        load(path, allow_testnet=False)
    assert caught.value.exit == Exit.CONFIG
    with pytest.raises(KeyExists):
        write_plain(path, bytes(32), name="n1", kind=PEER)
    assert load(path, allow_testnet=True).secret == SECRET


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"pubkey": "zz"}', "\x00" * 70_000])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"key\.json"):
        load(path, lambda: PASSWORD, allow_testnet=True)


def changed(place: tuple[str, ...], value: object) -> dict[str, Any]:
    document = seal(SECRET, PASSWORD, name="a", kind=ACCOUNT, scrypt_n=QUICK)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return document


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("version",), 3),
        (("crypto", "kdf", "function"), "argon2"),
        (("crypto", "kdf", "params", "n"), 2**30),
        (("crypto", "kdf", "params", "n"), 1000),
        (("crypto", "kdf", "params", "n"), "many"),
        (("crypto", "kdf", "params", "dklen"), 16),
        (("crypto", "kdf", "params", "salt"), "zz"),
        (("crypto", "kdf", "params"), {}),
        (("crypto", "cipher", "function"), "rot13"),
        (("crypto", "cipher", "params", "iv"), "00"),
        (("crypto", "checksum", "function"), "crc32"),
        (("crypto",), None),
    ],
)
def test_a_keystore_of_another_form_is_refused(place: tuple[str, ...], value: object) -> None:
    with pytest.raises(KeyFileError):
        unseal(changed(place, value), PASSWORD)


def test_a_changed_cipher_text_or_public_key_is_refused(tmp_path: Path) -> None:
    document = seal(SECRET, PASSWORD, name="a", kind=ACCOUNT, scrypt_n=QUICK)
    text = document["crypto"]["cipher"]["message"]
    flipped = copy.deepcopy(document)
    flipped["crypto"]["cipher"]["message"] = f"{int(text[0], 16) ^ 1:x}{text[1:]}"
    with pytest.raises(KeyPasswordWrong):
        unseal(flipped, PASSWORD)
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**document, "pubkey": public_of(bytes(32)).hex()}))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="does not belong"):
        load(path, lambda: PASSWORD, allow_testnet=False)


def test_a_key_runs_once_on_a_machine(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from node.keystore import lock_key;"
    code += (
        "k = lock_key(bytes(32), Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    root, pipe = Path(__file__).parents[2], subprocess.PIPE
    holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=root)
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(KeyInUse, match=f"process {holder.pid}") as caught:
            lock_key(bytes(32), tmp_path)
        assert (caught.value.owner_pid, caught.value.exit) == (holder.pid, Exit.BUSY)
        lock_key(b"k" * 32, tmp_path).release()  # another key is free
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    held = lock_key(bytes(32), tmp_path)
    held.release()
    held.release()
    assert list(tmp_path.iterdir()) == []


FORKING = """
import os, sys
from pathlib import Path
from node.keystore import lock_key
folder = Path(sys.argv[1])
lock = lock_key(bytes(32), folder)
reader, writer = os.pipe()
started, begun = os.pipe()
child = os.fork()
if child == 0:
    os.close(writer)
    os.write(begun, b"!")
    os.read(reader, 1)  # until the parent is done
    os._exit(0)
os.read(started, 1)
lock._close()  # as if this process had died, and not its child
lock_key(bytes(32), folder).release()
os.close(writer)
os.waitpid(child, 0)
print("free")
"""


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30)
    assert done.stdout == "free\n", done.stderr


def test_what_is_no_plain_file_is_no_key_and_nobody_waits_for_it(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.json", tmp_path / "socket.json"
    os.mkfifo(pipe, 0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(link))
        for path in (pipe, link, tmp_path):
            with pytest.raises(KeyFileError):
                entry_of(path)


def test_a_document_deeper_than_a_parser_goes_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("[" * 50_000)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="not a key file"):
        entry_of(path)


@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_a_lock_is_taken_in_a_plain_file_only(tmp_path: Path, kind: str) -> None:
    """Else another user's link would have this one's sign.db replaced by a number."""
    path, target = tmp_path / "keys" / f"{hash_text(bytes(32))}.lock", tmp_path / "sign.db"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    if kind == "link":
        target.write_bytes(b"what was signed")
    with pytest.raises(FileUnusable, match="not a plain file"):
        lock_key(bytes(32), path.parent)
    assert not target.exists() or target.read_bytes() == b"what was signed"
    assert target.exists() is (kind == "link")


@pytest.mark.parametrize("trouble", ["", "others write", "a link", "no folder"])
def test_locks_lie_where_nobody_else_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    runtime, state = tmp_path / "run", tmp_path / "state"
    monkeypatch.setattr(keystore_module, "user_runtime_path", lambda name: runtime / name)
    monkeypatch.setattr(keystore_module, "user_state_path", lambda name: state / name)
    runtime.mkdir(mode=0o700)
    if trouble == "others write":
        (runtime / "apocryph" / "keys").mkdir(parents=True)
        (runtime / "apocryph" / "keys").chmod(0o777)
    elif trouble == "a link":
        (runtime / "apocryph").symlink_to(tmp_path)
    elif trouble == "no folder":
        (runtime / "apocryph").write_bytes(b"")
    with lock_key(bytes(32)) as held:
        assert held.path.is_relative_to(state if trouble else runtime)
        with pytest.raises(KeyInUse):
            lock_key(bytes(32))
