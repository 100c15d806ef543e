"""`apocryph key new|import|list|export`: a user's encrypted keys."""

import json
import sys
from pathlib import Path
from typing import Final

import click

from node.cli.output import Output, with_output
from node.cli.password import password_from, password_option, read_password
from node.codes import Exit
from node.config import keys_folder
from node.errors import KeyFileError, KeyTestnetOnly
from node.keystore import (
    ACCOUNT,
    FILE_BYTES_MAX,
    PEER,
    SECRET_BYTES,
    TESTNET_ONLY,
    KeyEntry,
    Keystore,
    read_document,
    unseal,
    write_new,
)

STDIN: Final = "-"
HEX_FILE_BYTES_MAX: Final = 80  # 64 digits and a line end

USES: Final = {
    ACCOUNT: "holds tokens, signs messages",
    PEER: "owns slots, signs for a node",
}
kind_option = click.option(
    "--peer",
    is_flag=True,
    help="a node's key, which owns slots; without it an account's, which holds tokens",
)


@click.group()
def key() -> None:
    """Keys: made, imported, listed, exported. Always encrypted, never overwritten.

    There are two kinds, and one key is never both: an account's holds tokens and signs messages
    (`send --as NAME`), a peer's owns slots and signs for a node (`node init --key NAME`).
    """


def keystore() -> Keystore:
    """The user's keystore."""
    return Keystore(keys_folder())


@key.command()
@click.argument("name")
@kind_option
@password_option
@with_output
def new(name: str, peer: bool, password_file: Path | None, output: Output) -> Exit:
    """Make a key called NAME: an account's, or with --peer a node's."""
    keys = keystore()
    keys.check_free(name)
    password = password_from(output, password_file, of=name, confirm=True)()
    entry = keys.new(name, password, kind=PEER if peer else ACCOUNT)
    return _made(output, entry)


@key.command("import")
@click.argument("name")
@click.argument("file")
@kind_option
@password_option
@with_output
def import_(name: str, file: str, peer: bool, password_file: Path | None, output: Output) -> Exit:
    """Import FILE as NAME: a keystore (EIP-2335), or 64 hex digits of a secret; - reads stdin."""
    keys = keystore()
    keys.check_free(name)
    document = _read_source(file)
    if document.get(TESTNET_ONLY):
        raise KeyTestnetOnly(f"{file} is a plain key, marked {TESTNET_ONLY}")
    encrypted = "crypto" in document
    password = password_from(output, password_file, of=name, confirm=not encrypted)()
    secret = unseal(document, password) if encrypted else bytes.fromhex(str(document["hex"]))
    if len(secret) != SECRET_BYTES:
        raise KeyFileError(f"a secret of {len(secret)} bytes, not {SECRET_BYTES}")
    entry = keys.add(name, secret, password, kind=PEER if peer else ACCOUNT)
    return _made(output, entry)


@key.command("list")
@with_output
def list_(output: Output) -> Exit:
    """List the keys of the keystore; no password needed."""
    entries = keystore().entries()
    rows = [(entry.name, entry.kind, USES[entry.kind], entry.text) for entry in entries]
    text = output.table(("name", "kind", "use", "key"), rows)
    if not entries:
        output.note(f"no keys in {keystore().folder}; `apocryph key new NAME` makes one")
        text = ""
    return output.result({"keys": [_record(entry) for entry in entries]}, text)


@key.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="a new file instead of stdout, 0600")
@with_output
def export(name: str, out: Path | None, output: Output) -> Exit:
    """Give out the encrypted keystore of NAME; its password stays the same."""
    text = keystore().export(name)
    if out is not None:
        write_new(out, text)
        return output.result({"path": str(out)}, f"written to {out}")
    return output.result({"keystore": json.loads(text)}, text.rstrip("\n"))


def _read_source(file: str) -> dict[str, object]:
    """A keystore's document, or {"hex": …}."""
    if file != STDIN:
        path = Path(file)
        raw = (
            path.read_bytes()
            if path.is_file() and path.stat().st_size <= HEX_FILE_BYTES_MAX
            else b""
        )
        if not _is_hex(raw.decode(errors="replace")):
            return read_document(path)
        text = read_password(path)  # refused if others can read it
    else:
        text = sys.stdin.read(FILE_BYTES_MAX + 1)
    if _is_hex(text):
        return {"hex": text.strip()}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise KeyFileError(f"{file}: neither a keystore nor 64 hex digits")
    return document


def _is_hex(text: str) -> bool:
    digits = text.strip()
    return len(digits) == 2 * SECRET_BYTES and all(c in "0123456789abcdefABCDEF" for c in digits)


def _made(output: Output, entry: KeyEntry) -> Exit:
    output.note(f"the {entry.kind} key {entry.name!r} {USES[entry.kind]}")
    output.note(f"kept in {entry.path}; nobody can restore its password")
    return output.result({"key": _record(entry)}, entry.text)


def _record(entry: KeyEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "key": entry.text,
        "testnet_only": entry.testnet_only,
        "path": str(entry.path),
    }
