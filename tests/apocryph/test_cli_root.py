"""The root of the command line: quick, lazy, honest about what it does not know."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import apocryph
from apocryph.__main__ import COMMANDS, Nouns, root
from node.errors import CODES, Exit
from node.refusals import REFUSALS
from tests.apocryph.cli_lab import Commands

HELP_S_MAX = 0.2


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Commands:
    monkeypatch.setenv("APOCRYPH_HOME", str(tmp_path))
    return Commands(capsys)


def test_help_names_every_noun(command: Commands) -> None:
    said = command("--help")
    assert said.code == Exit.OK
    for name, entry in COMMANDS.items():
        assert f"  {name} " in said.out
        assert entry.help in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_noun_of_the_table_is_there(name: str, command: Commands) -> None:
    assert isinstance(root, Nouns)
    said = command(name, "--help")
    assert said.code == Exit.OK
    assert "Usage: apocryph" in said.out


def test_help_imports_nothing_of_the_node() -> None:
    script = (
        "import sys\n"
        "from apocryph.__main__ import main\n"
        "code = main(['--help'])\n"
        "heavy = [m for m in sys.modules if m in ('asyncio', 'aiohttp', 'grpc', 'rich', 'lmdb',"
        " 'cryptography', 'nacl', 'node.validator', 'testnet.cli')]\n"
        "print(code, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_takes_at_most_200_ms() -> None:
    """Of this process's own work: the wall clock belongs to whatever else runs here."""
    spent = []
    for _ in range(3):
        before = os.times()
        arguments = [sys.executable, "-m", "apocryph", "--help"]
        subprocess.run(arguments, capture_output=True, check=True)
        after = os.times()
        user = after.children_user - before.children_user
        spent.append(user + after.children_system - before.children_system)
    assert min(spent) <= HELP_S_MAX


def test_importing_the_package_costs_nothing_and_gives_the_public_names() -> None:
    script = (
        "import sys, apocryph\n"
        "before = [m for m in sys.modules if m.startswith(('node', 'consensus', 'aiohttp'))]\n"
        "from apocryph import Agent, on, view, message, record, Context, Reject, Address\n"
        "print(before, 'aiohttp' in sys.modules, Agent.__module__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[] False node.sdk.agent"
    for name in apocryph.__all__:
        assert getattr(apocryph, name).__name__.lower() == name.lower()
    assert set(apocryph.__all__) <= set(dir(apocryph))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = apocryph.nothing


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("sned",), r"did you mean send?"),
        (("nod", "run"), "did you mean node?"),
        (("--nope",), "nope"),
        (("node", "rnu"), "rnu"),
    ],
)
def test_what_it_does_not_know_is_exit_2(
    command: Commands, arguments: tuple[str, ...], cause: str
) -> None:
    said = command(*arguments)
    assert (said.code, said.out) == (Exit.USAGE, "")
    assert cause in said.err
    assert "hint: " in said.err
    assert cause in command.json(*arguments).error["message"]


def test_version_and_explain(command: Commands) -> None:
    data = command.json("version").data
    assert data["apocryph"] == "0.1.0"
    assert data["native"] == ["native:counter/1", "native:pingpong/1", "native:token/1"]
    assert command("version").out.startswith("apocryph 0.1.0")
    for code in (*CODES, *REFUSALS):
        said = command("explain", code)
        assert said.code == Exit.OK
        assert said.out.startswith(code)
    assert command.json("explain").data["codes"] == [*CODES, *REFUSALS]
    assert "did you mean store_full?" in command("explain", "storefull").err


@pytest.mark.slow  # scrypt as users have it
def test_node_init_makes_a_folder_that_can_run(command: Commands, tmp_path: Path) -> None:
    from node.config import load
    from tests.node.gateway_lab import lab_spec

    spec = tmp_path / "given.cbor"
    raw = lab_spec().raw
    spec.write_bytes(raw)
    password = tmp_path / "password"
    password.write_text("long enough\n")
    password.chmod(0o600)
    folder = tmp_path / "mine"
    flags = ["--spec", str(spec), "--listen", "127.0.0.1:0", "--password-file", str(password)]
    data = command("node", "init", str(folder), *flags, "--json").data
    config = load(folder, environ={})
    assert (config.node.name, config.network.listen.port) == ("mine", 0)
    assert config.spec_path.read_bytes() == raw
    assert json.loads((folder / "key.json").read_text())["version"] == 4
    assert (folder / "key.json").stat().st_mode & 0o777 == 0o600
    assert data["peer"].startswith("apx1")
    again = command.json("node", "init", str(folder), *flags)
    assert (again.code, again.error["code"]) == (Exit.CONFIG, "config_value")
    spec.write_bytes(b"\x80")
    other = command.json("node", "init", str(tmp_path / "other"), *flags)
    assert (other.code, other.error["code"]) == (Exit.CONFIG, "spec")
    assert not (tmp_path / "other").exists()


def test_a_node_that_does_not_run_is_exit_4(command: Commands, tmp_path: Path) -> None:
    said = command.json("node", "status", str(tmp_path))
    assert (said.code, said.error["code"]) == (Exit.UNREACHABLE, "unreachable")
    said = command.json("node", "replay", str(tmp_path))
    assert said.code == Exit.CONFIG
