"""`apocryph key …`: made, imported, listed, exported; refused with the reason."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.ids import account_text
from node.cli import key as key_commands
from node.cli.output import run
from node.keystore import ACCOUNT, Keystore, public_of, seal, unseal, write_plain

SECRET = bytes(range(32))
PASSWORD = "correct horse"
Command = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.delenv("APOCRYPH_PASSWORD_FILE", raising=False)
    quick = Keystore(tmp_path / "keys", scrypt_n=2**4)
    monkeypatch.setattr(key_commands, "keystore", lambda: quick)

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        code = run(key_commands.key, [*map(str, arguments), "--json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out)

    return call


def test_a_key_is_made_listed_and_exported(
    command: Command, passwords: Path, tmp_path: Path
) -> None:
    code, made = command("new", "alice", "--password-file", passwords)
    assert code == 0 and made["ok"]
    key = made["data"]["key"]
    assert (key["name"], key["kind"], key["key"][:4]) == ("alice", "account", "apx1")
    command("new", "n1", "--peer", "--password-file", passwords)
    code, listed = command("list")
    assert [(row["name"], row["kind"]) for row in listed["data"]["keys"]] == [
        ("alice", "account"),
        ("n1", "peer"),
    ]
    code, exported = command("export", "alice")
    secret = unseal(exported["data"]["keystore"], PASSWORD)
    assert account_text(public_of(secret)) == key["key"]
    code, _ = command("export", "alice", "--out", tmp_path / "alice.json")
    assert code == 0 and (tmp_path / "alice.json").stat().st_mode & 0o777 == 0o600
    code, again = command("export", "alice", "--out", tmp_path / "alice.json")
    assert (code, again["errors"][0]["code"]) == (3, "key_exists")


def test_a_keystore_is_imported_with_its_password(
    command: Command, passwords: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source.json"
    sealed = seal(SECRET, PASSWORD, name="elsewhere", kind=ACCOUNT, scrypt_n=2**4)
    source.write_text(json.dumps(sealed))
    source.chmod(0o600)
    code, made = command("import", "bob", source, "--password-file", passwords)
    assert (code, made["data"]["key"]["key"]) == (0, account_text(public_of(SECRET)))
    passwords.write_text("wrong password")
    code, told = command("import", "carol", source, "--password-file", passwords)
    assert (code, told["errors"][0]["code"]) == (3, "key_password")


def test_a_secret_in_hex_is_imported_from_a_file_or_stdin(
    command: Command, passwords: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "secret.hex"
    source.write_text(SECRET.hex() + "\n")
    code, told = command("import", "bob", source, "--password-file", passwords)
    assert (code, told["errors"][0]["code"]) == (3, "key_readable")
    source.chmod(0o600)
    code, made = command("import", "bob", source, "--password-file", passwords)
    assert (code, made["data"]["key"]["key"]) == (0, account_text(public_of(SECRET)))
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET.hex()))
    code, _ = command("import", "carol", "-", "--password-file", passwords)
    assert code == 0


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"version": 4, "crypto": {}}', "ab" * 31])
def test_what_is_no_key_is_not_imported(
    command: Command, passwords: Path, tmp_path: Path, text: str
) -> None:
    source = tmp_path / "source"
    source.write_text(text)
    source.chmod(0o600)
    code, told = command("import", "bob", source, "--password-file", passwords)
    assert (code, told["errors"][0]["code"]) == (3, "key_format")
    assert command("list")[1]["data"]["keys"] == []


def test_a_testnet_key_is_not_imported(command: Command, passwords: Path, tmp_path: Path) -> None:
    write_plain(tmp_path / "n1.json", SECRET, name="n1", kind=ACCOUNT)
    code, told = command("import", "bob", tmp_path / "n1.json", "--password-file", passwords)
    assert (code, told["errors"][0]["code"]) == (3, "key_testnet_only")


def test_refusals_come_before_a_password_is_needed(
    command: Command, passwords: Path, tmp_path: Path
) -> None:
    command("new", "alice", "--password-file", passwords)
    nowhere = tmp_path / "nowhere"
    for arguments, wanted in [
        (("new", "alice", "--password-file", nowhere), "key_exists"),
        (("new", "../x", "--password-file", nowhere), "key_format"),
        (("export", "bob"), "key_missing"),
        (("import", "bob", nowhere, "--password-file", nowhere), "key_missing"),
    ]:
        code, told = command(*arguments)
        assert (code, told["errors"][0]["code"]) == (3, wanted)


def test_without_a_terminal_nobody_is_asked(command: Command) -> None:
    code, told = command("new", "alice")
    assert (code, told["errors"][0]["code"]) == (3, "key_password")
    assert "--password-file" in told["errors"][0]["hint"]


def test_a_password_file_is_private_and_holds_a_line(
    command: Command, passwords: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APOCRYPH_PASSWORD_FILE", str(passwords))
    assert command("new", "alice")[0] == 0
    passwords.chmod(0o644)
    code, told = command("new", "bob")
    assert (code, told["errors"][0]["code"]) == (3, "key_readable")
    passwords.chmod(0o600)
    for content, wanted in [("", "password_file"), ("short\n", "key_password")]:
        passwords.write_text(content)
        code, told = command("new", "bob")
        assert (code, told["errors"][0]["code"]) == (3, wanted)


def test_text_for_people(
    command: Command, passwords: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(key_commands.key, ["list"]) == 0
    assert capsys.readouterr() == (
        "",
        f"no keys in {passwords.parent / 'keys'}; `apocryph key new NAME` makes one\n",
    )
    assert run(key_commands.key, ["new", "alice", "--password-file", str(passwords)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("apx1") and "alice.json" in err
    assert "the account key 'alice' holds tokens, signs messages" in err
    assert run(key_commands.key, ["list"]) == 0
    words = "name\tkind\tuse\tkey\nalice\taccount\tholds tokens, signs messages"
    assert capsys.readouterr().out == f"{words}\t{out}"
    assert run(key_commands.key, ["new", "home", "--peer", "--password-file", str(passwords)]) == 0
    assert "the peer key 'home' owns slots, signs for a node" in capsys.readouterr().err
    assert run(key_commands.key, ["list"]) == 0
    assert "home\tpeer\towns slots, signs for a node\tapx1" in capsys.readouterr().out
    assert run(key_commands.key, ["export", "alice"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 4
